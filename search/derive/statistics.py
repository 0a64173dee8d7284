"""What a task's images look like inside the base: moments, streamed in one pass."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors, normalise
from nuwa_search.core.vit import Attention, PlainViT
from nuwa_search.search.derive.forward import Branch, branches_of, context_of, hidden_of, moment, with_one

STATISTICS_TOKENS = 3900
"""Tokens per step, which bounds memory: 60 images of 65 tokens, 19 of 197 (47 MB of hidden activations of a
DeiT-B block)."""

DOUBLE_SIZE = 1025
"""Largest Gram matrix summed in float64: above, twice the memory would buy digits the ridge hides."""


@dataclass
class BranchMoments:
    """Means over images and tokens (positions weighted as the sensitivity says), float32.

    Sums run in float64 while they are small; solves convert back and add a ridge far above the rounding.

    Args:
        gram: E[[r; 1] [r; 1]ᵀ] of what the writer reads: concatenated head outputs, or hidden activations
            (K+1, K+1).
        ahead: E[[r; 1] yᵀ] with the outputs y of the next branches, nearest first (reach, K+1, C): what this
            writer can make up for when they are gone.
        output: Mean output of the branch per token (N, C).
        query: E[q qᵀ] per head (H, q, q), bias included; empty for an MLP.
        key: Covariance of k around each image's mean per head (H, q, q): softmax ignores what all keys of an
            image share; empty for an MLP.
    """

    gram: Tensor
    ahead: Tensor
    output: Tensor
    query: Tensor
    key: Tensor

    @property
    def is_mlp(self) -> bool:
        """Whether the branch is an MLP: it has no heads."""
        return self.query.numel() == 0

    def to(self, device: torch.device | torch.dtype) -> "BranchMoments":
        """Move or convert everything."""
        return BranchMoments(*(value.to(device) for value in vars(self).values()))

    def drop_second(self) -> None:
        """Free the large matrices, once a solver has been made of them."""
        self.gram, self.ahead = self.gram.new_empty(0, 0), self.ahead.new_empty(0, 0, 0)  # a slice would keep them


@dataclass
class Moments:
    """Moments of all branches by index, and of the residual stream where norms read it.

    Args:
        branches: By branch index; absent branches are missing.
        stream: E[u uᵀ] (C, C) of the stream before each norm, centred if the norm centres and scaled to unit
            mean square, averaged over all norms.
        second: Reads ``gram`` and ``ahead`` of the MLPs, by branch index, where they were left in the cache.
    """

    branches: dict[int, BranchMoments] = field(default_factory=dict)
    stream: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    second: Callable[[], dict[int, tuple[Tensor, Tensor]]] | None = None

    def to(self, device: torch.device) -> "Moments":
        """Move everything."""
        return Moments({i: m.to(device) for i, m in self.branches.items()}, self.stream.to(device), self.second)

    def read_second(self) -> None:
        """Bring the MLPs' matrices into memory, if they are not there."""
        if self.second is None or all(m.gram.numel() for m in self.branches.values()):
            return
        for index, (gram, ahead) in self.second().items():
            mine = self.branches[index]
            mine.gram, mine.ahead = gram.to(self.stream.device), ahead.to(self.stream.device)


def spread_evenly(split: SplitTensors, count: int) -> SplitTensors:
    """Take at most ``count`` images, as evenly over the classes as they come; deterministic."""
    if len(split) <= count:
        return split
    order = torch.argsort(split.labels, stable=True)
    rank = torch.empty_like(order)
    start = 0
    for size in torch.bincount(split.labels).tolist():
        rank[order[start : start + size]] = torch.arange(size)
        start += size
    return split.take(torch.argsort(rank, stable=True)[:count].sort().values)


def unit_stream(x: Tensor, *, centred: bool) -> Tensor:
    """Centre (B, N, C) over C if asked and scale each token to unit mean square: what a norm hands on."""
    if centred:
        x = x - x.mean(dim=-1, keepdim=True)
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True).clamp_min(1e-12))


@torch.inference_mode()
def collect_moments(
    model: PlainViT,
    split: SplitTensors,
    preprocess: Preprocess,
    *,
    token_weights: Tensor,
    reach: int,
    on_images: Callable[[int, int], None] | None = None,
) -> Moments:
    """Stream ``split`` through ``model``; memory does not grow with the number of images.

    Args:
        model: The base.
        split: Images of the task.
        preprocess: Of the base.
        token_weights: (2L, N) weight of each position at each branch, mean 1.
        reach: How many following branches ``ahead`` covers.
        on_images: Called with (images done, images in all).
    """
    arch, device = model.arch, next(model.parameters()).device
    centred = arch.norm == "layernorm"
    branches = list(branches_of(model))
    roots = token_weights.sqrt().float().to(device)[:, None, :, None]
    sums = {b.index: _zero_moments(b, model, reach) for b in branches}
    stream = torch.zeros(arch.embed_dim, arch.embed_dim, dtype=torch.float64, device=device)
    done = 0
    for part in torch.split(split.images, max(1, STATISTICS_TOKENS // arch.num_tokens)):
        x = model.embed(normalise(part.to(device), preprocess))
        recent: list[tuple[BranchMoments, Tensor, Tensor]] = []
        for branch in branches:
            unit = unit_stream(x, centred=centred)
            stream += moment(unit, unit)
            mine, root = sums[branch.index], roots[branch.index]
            read = _read(branch, x, mine, root)
            output = branch.writer(read)
            rows = with_one(read) * root
            mine.gram += moment(rows, rows)
            mine.output += output.sum(dim=0).double()
            for step, (theirs, their_rows, their_root) in enumerate(reversed(recent)):
                theirs.ahead[step] += moment(their_rows, output * their_root)
            recent = [*recent, (mine, rows, root)][-reach:] if reach else []
            x = x + output
        unit = unit_stream(x, centred=centred)
        stream += moment(unit, unit)
        done += len(part)
        if on_images is not None:
            on_images(done, len(split))
    for mine in sums.values():
        mine.output /= len(split)
        for total in (mine.gram, mine.ahead, mine.query, mine.key):
            total /= len(split) * arch.num_tokens
    kept = {index: mine.to(torch.float32) for index, mine in sums.items()}
    return Moments(kept, stream / stream.diagonal().mean().clamp_min(1e-12))


def _zero_moments(branch: Branch, model: PlainViT, reach: int) -> BranchMoments:
    body, dim, size = branch.body, model.arch.embed_dim, branch.writer.in_features + 1
    heads = (body.num_heads, body.qk_dim, body.qk_dim) if isinstance(body, Attention) else (0, 0, 0)
    shapes: tuple[tuple[int, ...], ...]
    shapes = ((size, size), (reach, size, dim), (model.arch.num_tokens, dim), heads, heads)
    dtype = torch.float64 if size <= DOUBLE_SIZE else torch.float32
    return BranchMoments(*(torch.zeros(shape, dtype=dtype, device=branch.writer.weight.device) for shape in shapes))


def _read(branch: Branch, x: Tensor, moments: BranchMoments, root: Tensor) -> Tensor:
    z = branch.norm(x)
    if not isinstance(branch.body, Attention):
        return hidden_of(branch.body, z)
    q, k, context = context_of(branch.body, z)
    weighted = q * root
    moments.query += torch.einsum("bhnq,bhnp->hqp", weighted, weighted).double()
    k = k - k.mean(dim=2, keepdim=True)
    moments.key += torch.einsum("bhnq,bhnp->hqp", k, k).double()
    return context
