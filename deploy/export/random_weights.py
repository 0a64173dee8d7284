"""Random folded tensors of an arch, for latency tables: shapes matter there, values do not."""

from functools import lru_cache

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.deploy.export.folded import (
    DEFAULT_STREAM_SCALE,
    FloatArray,
    FoldedAttention,
    FoldedBlock,
    FoldedMlp,
    FoldedRotary,
    FoldedViT,
    has_q_bias,
)

STD = 0.02
"""Standard deviation of timm's ViT initialisation; keeps activations and sums far from overflow."""

_POOL_SIZE = 1 << 21


def random_folded(arch: Arch, *, seed: int = 0) -> FoldedViT:
    """Draw the tensors of ``arch``'s graph.

    Numbers come from one pool of draws per seed, reused from tensor to tensor: drawing millions of
    normals would take longer than writing the graph.
    """
    draw = _Draws(seed)
    c = arch.embed_dim
    return FoldedViT(
        patch_weight=draw(c, arch.in_chans, arch.patch_size, arch.patch_size),
        pos_embed=draw(arch.num_patches, c),
        prefix_tokens=draw(arch.num_prefix_tokens, c),
        pre_norm=(draw(c), draw(c) if arch.norm == "layernorm" else None) if arch.pre_norm else None,
        blocks=tuple(_block(arch, block, draw) for block in arch.blocks),
        head_weight=draw(arch.num_classes, arch.head_in_features),
        head_bias=draw(arch.num_classes),
        stream_scale=DEFAULT_STREAM_SCALE,
    )


def _block(arch: Arch, block: BlockSpec, draw: "_Draws") -> FoldedBlock:
    c, num_q, num_v = arch.embed_dim, block.num_heads * block.qk_dim, block.num_heads * block.v_dim
    attn = mlp = None
    if block.has_attn:
        attn = FoldedAttention(
            q_weight=draw(num_q, c),
            q_bias=draw(num_q) if has_q_bias(arch) else None,
            k_weight=draw(num_q, c),
            v_weight=draw(num_v, c),
            proj_weight=draw(c, num_v),
            proj_bias=draw(c),
            k_bias=draw(num_q) if has_q_bias(arch) and arch.rope_dim else None,
            rotary=_rotary(arch, block, draw) if arch.rope_dim else None,
        )
    if block.has_mlp:
        mlp = FoldedMlp(
            fc1_weight=draw(block.mlp_width, c),
            fc1_bias=draw(block.mlp_width),
            fc2_weight=draw(c, block.mlp_width),
            fc2_bias=draw(c),
        )
    return FoldedBlock(attn, mlp)


def _rotary(arch: Arch, block: BlockSpec, draw: "_Draws") -> FoldedRotary:
    heads = (block.num_heads,) if block.qk_dim < arch.rope_dim else ()
    shape = (*heads, arch.num_tokens, block.qk_dim)
    return FoldedRotary(draw(*shape), draw(*shape))


class _Draws:
    """Hands out views into the pool, each from where the last one ended."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._next = 0

    def __call__(self, *shape: int) -> FloatArray:
        size = int(np.prod(shape))
        pool = _pool(self._seed, max(_POOL_SIZE, 1 << (size - 1).bit_length()))
        if self._next + size > len(pool):
            self._next = 0
        part = pool[self._next : self._next + size]
        self._next += size
        return part.reshape(shape)


@lru_cache(maxsize=4)
def _pool(seed: int, size: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32) * np.float32(STD)
