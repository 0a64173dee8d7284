"""What a task's images look like inside the base: moments, streamed in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nuwa.images import Preprocess
from nuwa.tensors import SplitTensors, normalise
from nuwa.vit import Attention, Block, Mlp, PlainViT

STATISTICS_BATCH = 50
"""Images per step: a DeiT-B block's hidden activations stay near 120 MB."""


@dataclass
class BlockMoments:
    """Sums over images and tokens, divided by their number at the end; float64.

    Args:
        query: E[q qᵀ] per head (H, q, q), bias included.
        key: Covariance of k around each image's mean per head (H, q, q): softmax ignores what all keys of an
            image share.
        context: E[c cᵀ] of the concatenated head outputs with a 1 appended (H·v+1, H·v+1).
        hidden: E[h hᵀ] of the MLP's hidden activations with a 1 appended (e+1, e+1).
        attn_mean: Mean output of the attention branch per token (N, C).
        mlp_mean: Mean output of the MLP branch per token (N, C).
    """

    query: Tensor
    key: Tensor
    context: Tensor
    hidden: Tensor
    attn_mean: Tensor
    mlp_mean: Tensor


@dataclass
class Moments:
    """All blocks' moments, and those of the residual stream where norms read it.

    Args:
        blocks: One per block of the base.
        stream: E[u uᵀ] (C, C) of the stream before each norm, centred if the norm centres and scaled to unit
            mean square, averaged over all norms.
    """

    blocks: list[BlockMoments]
    stream: Tensor


def spread_evenly(split: SplitTensors, count: int) -> SplitTensors:
    """Take at most ``count`` images, as evenly over the classes as they come; deterministic."""
    if len(split) <= count:
        return split
    order = torch.argsort(split.labels, stable=True)
    rank = torch.empty_like(order)
    start = 0
    for size in torch.bincount(split.labels).tolist():
        members = order[start : start + size]
        rank[members] = torch.arange(size)
        start += size
    return split.take(torch.argsort(rank, stable=True)[:count].sort().values)


def with_one(x: Tensor) -> Tensor:
    """Append a constant 1 to the last axis: (..., K) to (..., K+1)."""
    return F.pad(x, (0, 1), value=1.0)


def gram(x: Tensor) -> Tensor:
    """Sum x xᵀ over all leading axes of (..., K), in float64: (K, K)."""
    rows = x.reshape(-1, x.shape[-1])
    return (rows.T @ rows).double()


def unit_stream(x: Tensor, *, centred: bool) -> Tensor:
    """Centre (B, N, C) over C if asked and scale each token to unit mean square: what a norm hands on."""
    if centred:
        x = x - x.mean(dim=-1, keepdim=True)
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True).clamp_min(1e-12))


def context_of(attn: Attention, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run attention up to its projection: q, k (B, H, N, q) and concatenated head outputs (B, N, H·v)."""
    q, k, v = attn.project_qkv(z)
    out = F.scaled_dot_product_attention(q, k, v)
    return q, k, out.transpose(1, 2).flatten(2)


def hidden_of(mlp: Mlp, z: Tensor) -> Tensor:
    """Run an MLP up to its down projection: (B, N, e)."""
    out: Tensor = mlp.act(mlp.fc1(z))
    return out


@torch.inference_mode()
def collect_moments(model: PlainViT, split: SplitTensors, preprocess: Preprocess) -> Moments:
    """Stream ``split`` through ``model``; memory does not grow with the number of images.

    A branch that the model lacks has moments of size 1 (the constant alone) or 0.
    """
    device = next(model.parameters()).device
    arch = model.arch
    dim, tokens = arch.embed_dim, arch.num_tokens
    blocks = [_empty_moments(model, i, device) for i in range(len(model.blocks))]
    stream = torch.zeros(dim, dim, dtype=torch.float64, device=device)
    centred = arch.norm == "layernorm"
    for part in torch.split(split.images, STATISTICS_BATCH):
        x = model.embed(normalise(part.to(device), preprocess))
        for block, moments in zip(model.blocks, blocks, strict=True):
            if not isinstance(block, Block):
                raise TypeError(f"not a plain block: {type(block).__name__}")
            if block.attn is not None and block.norm1 is not None:
                stream += gram(unit_stream(x, centred=centred))
                x = x + _watch_attention(block.attn, block.norm1(x), moments)
            if block.mlp is not None and block.norm2 is not None:
                stream += gram(unit_stream(x, centred=centred))
                hidden = hidden_of(block.mlp, block.norm2(x))
                moments.hidden += gram(with_one(hidden))
                out = block.mlp.fc2(hidden)
                moments.mlp_mean += out.sum(dim=0).double()
                x = x + out
        stream += gram(unit_stream(x, centred=centred))
    count = len(split)
    for moments in blocks:
        for name in ("query", "key", "context", "hidden"):
            getattr(moments, name).div_(count * tokens)
        moments.attn_mean /= count
        moments.mlp_mean /= count
    return Moments(blocks, stream / stream.diagonal().mean().clamp_min(1e-12))


def _empty_moments(model: PlainViT, index: int, device: torch.device) -> BlockMoments:
    spec, arch = model.arch.blocks[index], model.arch
    sizes = (
        (spec.num_heads, spec.qk_dim, spec.qk_dim),
        (spec.num_heads, spec.qk_dim, spec.qk_dim),
        (spec.num_heads * spec.v_dim + 1, spec.num_heads * spec.v_dim + 1),
        (spec.mlp_width + 1, spec.mlp_width + 1),
        (arch.num_tokens, arch.embed_dim),
        (arch.num_tokens, arch.embed_dim),
    )
    return BlockMoments(*(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))


def _watch_attention(attn: Attention, z: Tensor, moments: BlockMoments) -> Tensor:
    q, k, context = context_of(attn, z)
    moments.query += torch.einsum("bhnq,bhnp->hqp", q, q).double()
    k = k - k.mean(dim=2, keepdim=True)
    moments.key += torch.einsum("bhnq,bhnp->hqp", k, k).double()
    moments.context += gram(with_one(context))
    out: Tensor = attn.proj(context)
    moments.attn_mean += out.sum(dim=0).double()
    return out
