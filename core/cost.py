"""Multiply-accumulates and parameters of an arch, in closed form.

Source: NuWa (arXiv 2504.03118), cost model; extended here by biases, pooling after the norm, and
removed branches. MACs are multiply-accumulates of one image and are never called FLOPs.
"""

from nuwa_search.core.arch import Arch, BlockSpec


def block_macs(block: BlockSpec, *, embed_dim: int, num_tokens: int) -> int:
    """Count MACs of the matrix products in one block (projections, QK^T, AV, MLP)."""
    n, d = num_tokens, embed_dim
    attn = (2 * n * d + n * n) * block.num_heads * (block.qk_dim + block.v_dim)
    return attn + 2 * n * d * block.mlp_width


def count_macs(arch: Arch) -> int:
    """Count MACs of one image: matrix products of blocks, patch embedding and head."""
    blocks = sum(block_macs(b, embed_dim=arch.embed_dim, num_tokens=arch.num_tokens) for b in arch.blocks)
    patch = arch.num_patches * arch.in_chans * arch.patch_size**2 * arch.embed_dim
    answers = arch.num_patches if arch.is_dense else 1
    return blocks + patch + answers * arch.head_in_features * arch.num_classes


def block_params(block: BlockSpec, arch: Arch) -> int:
    """Count parameters of one block of ``arch``, norms included."""
    d = arch.embed_dim
    norm = d if arch.norm == "rmsnorm" else 2 * d
    total = 0
    if block.has_attn:
        qkv = block.num_heads * (2 * block.qk_dim + block.v_dim)
        total += norm + qkv * d + (qkv if arch.qkv_bias else 0) + block.num_heads * block.v_dim * d + d
    if block.has_mlp:
        total += norm + 2 * d * block.mlp_width + block.mlp_width + d
    return total


def count_params(arch: Arch) -> int:
    """Count the parameters of ``nuwa_search.core.vit.PlainViT(arch)``."""
    d = arch.embed_dim
    norm = d if arch.norm == "rmsnorm" else 2 * d
    num_norms = int(arch.pre_norm) + int(arch.final_norm != "none")
    patch = (arch.in_chans * arch.patch_size**2 + 1) * d
    tokens = arch.num_tokens * d
    head = (arch.head_in_features + 1) * arch.num_classes
    return patch + tokens + num_norms * norm + head + sum(block_params(b, arch) for b in arch.blocks)
