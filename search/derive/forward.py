"""Walk a plain ViT branch by branch: branch 2i is block i's attention, 2i+1 its MLP."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import Attention, Block, Mlp, PlainViT, attend


@dataclass(frozen=True)
class Branch:
    """One branch of a model.

    Args:
        index: 2·block for attention, 2·block + 1 for the MLP.
        norm: What it reads the residual stream through.
        body: The attention or MLP.
    """

    index: int
    norm: nn.Module
    body: Attention | Mlp

    @property
    def writer(self) -> nn.Linear:
        """The linear map whose output joins the residual stream."""
        return self.body.proj if isinstance(self.body, Attention) else self.body.fc2

    @property
    def reader(self) -> nn.Linear:
        """The linear map that reads the normalised residual stream."""
        return self.body.qkv if isinstance(self.body, Attention) else self.body.fc1

    def read(self, x: Tensor) -> Tensor:
        """What the reader makes of the residual stream (B, N, C): q, k and v, or the MLP before its activation."""
        out: Tensor = self.reader(self.norm(x))
        return out

    def regressors(self, x: Tensor) -> Tensor:
        """What the writer reads, given the residual stream (B, N, C): (B, N, K)."""
        z = self.norm(x)
        return context_of(self.body, z)[2] if isinstance(self.body, Attention) else hidden_of(self.body, z)


def branches_of(model: PlainViT) -> Iterator[Branch]:
    """Iterate over the branches that are there, first to last."""
    for i, block in enumerate(blocks_of(model)):
        if block.attn is not None and block.norm1 is not None:
            yield Branch(2 * i, block.norm1, block.attn)
        if block.mlp is not None and block.norm2 is not None:
            yield Branch(2 * i + 1, block.norm2, block.mlp)


def blocks_of(model: PlainViT) -> list[Block]:
    """List the blocks with their type.

    Raises:
        NuwaError: If someone put another module among them.
    """
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    if len(blocks) != len(model.blocks):
        raise NuwaError("derivation needs a PlainViT with plain blocks")
    return blocks


def context_of(attn: Attention, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run attention up to its projection: q, k (B, H, N, q) and concatenated head outputs (B, N, H·v)."""
    q, k, v = attn.project_qkv(z)
    out = attend(q, k, v)
    return q, k, out.transpose(1, 2).flatten(2)


def hidden_of(mlp: Mlp, z: Tensor) -> Tensor:
    """Run an MLP up to its down projection: (B, N, e)."""
    out: Tensor = mlp.act(mlp.fc1(z))
    return out


def with_one(x: Tensor) -> Tensor:
    """Append a constant 1 to the last axis: (..., K) to (..., K+1)."""
    return F.pad(x, (0, 1), value=1.0)


def moment(x: Tensor, y: Tensor) -> Tensor:
    """Sum x yᵀ over all leading axes of (..., K) and (..., J), added up in float64: (K, J)."""
    return (x.flatten(0, -2).T @ y.flatten(0, -2)).to(torch.float64)
