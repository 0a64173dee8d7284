"""A ViT that also tells its pooled features and the query, key and value of one block."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import Attention, Block, PlainViT, attend


@dataclass(frozen=True)
class Qkv:
    """Query, key and value of one block, heads side by side: (B, N, H·width) each.

    Args:
        q: (B, N, H·qk_dim).
        k: (B, N, H·qk_dim).
        v: (B, N, H·v_dim).
        qk_dim: Width of q and k per head.
        v_dim: Width of v per head.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    qk_dim: int
    v_dim: int


def middle_block(vit: PlainViT) -> int | None:
    """Return the index of the middle block among those with attention; None if there is none."""
    with_attn = [i for i, block in enumerate(vit.blocks) if isinstance(block, Block) and block.attn is not None]
    return with_attn[len(with_attn) // 2] if with_attn else None


class Traced(nn.Module):
    """Run a ViT and return logits (B, C), features (B, D) and, if asked, q, k, v of one block.

    Of a ViT that answers for patches logits are (B, C, h, w), and features (B, P, D).

    It wraps the ViT without hooks, so the ViT leaves training as it came, and one module can be
    compiled or handed to DDP.

    Args:
        vit: Whose parameters are trained.
        tap: Index of the block whose q, k, v are returned; None for none.
    """

    def __init__(self, vit: PlainViT, *, tap: int | None = None) -> None:
        super().__init__()
        self.vit = vit
        self.tap = tap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        x = self.vit.embed(x)
        tapped = None
        for i, block in enumerate(self.vit.blocks):
            if isinstance(block, Block) and block.attn is not None and i == self.tap:
                x, tapped = _block_with_qkv(block, x)
            else:
                x = self.vit.forward_block(i, x)
        features = self.vit.pool(x)
        return self.vit.answer(features), features, tapped

    def qkv_of(self, tapped: tuple[Tensor, Tensor, Tensor]) -> Qkv:
        """Name the parts of what ``forward`` returned last."""
        spec = self.vit.arch.blocks[self.tap or 0]
        return Qkv(*tapped, qk_dim=spec.qk_dim, v_dim=spec.v_dim)


def of_images(features: Tensor) -> Tensor:
    """Return features of images (B, D): themselves, or the mean over those of patches (B, P, D)."""
    return features if features.ndim == 2 else features.mean(dim=1)


@torch.no_grad()
def qkv_at(vit: PlainViT, x: Tensor, tap: int) -> Qkv:
    """Run (B, 3, H, W) up to block ``tap`` only and return its q, k, v; no gradients."""
    x = vit.embed(x)
    for block in list(vit.blocks)[:tap]:
        x = block(x)
    q, k, v = _project(vit.blocks[tap], x)[1]
    spec = vit.arch.blocks[tap]
    return Qkv(_side_by_side(q), _side_by_side(k), _side_by_side(v), spec.qk_dim, spec.v_dim)


def _side_by_side(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


def _project(block: nn.Module, x: Tensor) -> tuple[Attention, tuple[Tensor, Tensor, Tensor]]:
    if not isinstance(block, Block) or block.attn is None or block.norm1 is None:
        raise NuwaError("a block without attention has no query, key and value")
    return block.attn, block.attn.project_qkv(block.norm1(x))


def _block_with_qkv(block: Block, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    attn, (q, k, v) = _project(block, x)
    x = x + attn.proj(_side_by_side(attend(q, k, v)))
    if block.mlp is not None and block.norm2 is not None:
        x = x + block.mlp(block.norm2(x))
    return x, (_side_by_side(q), _side_by_side(k), _side_by_side(v))
