"""What a task's images look like inside the base: moments, streamed in one pass."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of, whole_float32, with_less_at_once
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import Attention, PlainViT
from nuwa_search.search.derive.forward import Branch, branches_of, context_of, hidden_of, moment, with_one
from nuwa_search.search.derive.ranking_error import RankingError
from nuwa_search.search.derive.token_sample import TokenSample, sample_tokens
from nuwa_search.search.precision import statistics_context

STATISTICS_TOKENS = 3900
"""Tokens per step, which bounds memory: 60 images of 65 tokens, 19 of 197 (47 MB of hidden activations of a
DeiT-B block)."""

DOUBLE_SIZE = 1025
"""Largest Gram matrix summed in float64: above, twice the memory would buy digits the ridge hides."""


SAMPLING_SEED = 0
"""Of the tokens drawn: statistics belong to base and images, not to a search."""


@dataclass(frozen=True)
class Sampling:
    """What statistics look at.

    Args:
        tokens: Patch tokens per image that second moments are taken from, beside the prefix tokens; 0 takes all.
        ranking_error: Images are enough once the ranking of neurons is this sure (``RankingError``); 0 takes all.
        least_images: Images that are taken before that is asked.
    """

    tokens: int = 0
    ranking_error: float = 0.0
    least_images: int = 64


ALL = Sampling()
"""All images and all tokens."""


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
        num_images: Images they were taken from.
        ranking_error: Share of the better half of the neurons that other images would not keep, as a bootstrap says.
    """

    branches: dict[int, BranchMoments] = field(default_factory=dict)
    stream: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    second: Callable[[], dict[int, tuple[Tensor, Tensor]]] | None = None
    num_images: int = 0
    ranking_error: float = 0.0

    def to(self, device: torch.device) -> "Moments":
        """Move everything."""
        moved = {i: m.to(device) for i, m in self.branches.items()}
        return replace(self, branches=moved, stream=self.stream.to(device))

    def read_second(self) -> None:
        """Bring the MLPs' matrices into memory, if they are not there."""
        if self.second is None or all(m.gram.numel() for m in self.branches.values()):
            return
        for index, (gram, ahead) in self.second().items():
            mine = self.branches[index]
            mine.gram, mine.ahead = gram.to(self.stream.device), ahead.to(self.stream.device)


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
    sampling: Sampling = ALL,
    bf16: bool = False,
    on_images: Callable[[int, int], None] | None = None,
) -> Moments:
    """Stream ``split`` through ``model``, on its device; memory does not grow with the number of images.

    Args:
        model: The base.
        split: Images of the task.
        preprocess: Preprocessing of the base.
        token_weights: (2L, N) weight of each position at each branch, mean 1.
        reach: How many following branches ``ahead`` covers.
        sampling: Which tokens are looked at, and when the images are enough.
        bf16: Whether the model may run in bf16 (``statistics_context``).
        on_images: Called with (images done, images in all).
    """

    def collect(tokens: int) -> Moments:
        num_images = max(1, tokens // model.arch.num_tokens)
        sums = _Sums(model, token_weights=token_weights, reach=reach, bf16=bf16)
        return _collected(sums, split, preprocess, sampling, num_images=num_images, on_images=on_images)

    with whole_float32(device_of(model)):
        return with_less_at_once(collect, STATISTICS_TOKENS)


def _collected(
    sums: "_Sums",
    split: SplitTensors,
    preprocess: Preprocess,
    sampling: Sampling,
    *,
    num_images: int,
    on_images: Callable[[int, int], None] | None,
) -> Moments:
    """Stream ``split`` into ``sums``, ``num_images`` at once."""
    model = sums.model
    arch, device = model.arch, device_of(model)
    generator = torch.Generator().manual_seed(SAMPLING_SEED)
    done, error = 0, RankingError()
    for part in torch.split(split.images, num_images):
        tokens = sample_tokens(
            len(part),
            num_prefix=arch.num_prefix_tokens,
            num_patches=arch.num_patches,
            count=sampling.tokens,
            generator=generator,
            device=device,
        )
        sums.add(model.embed(normalise(part.to(device), preprocess)), tokens, error)
        done += len(part)
        if on_images is not None:
            on_images(done, len(split))
        if sampling.ranking_error and done >= sampling.least_images and error.value() <= sampling.ranking_error:
            break
    return sums.means(done, ranking_error=error.value())


class _Sums:
    """Running sums over images, branch by branch."""

    def __init__(self, model: PlainViT, *, token_weights: Tensor, reach: int, bf16: bool) -> None:
        dim, device = model.arch.embed_dim, device_of(model)
        self.model, self._reach = model, reach
        self._centred = model.arch.norm == "layernorm"
        self._branches = list(branches_of(model))
        self._roots = token_weights.sqrt().float().to(device)
        self._moments = {b.index: _zero_moments(b, model, reach) for b in self._branches}
        self._stream = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        self._arithmetic = statistics_context(device, bf16=bf16)

    def add(self, x: Tensor, tokens: TokenSample, error: RankingError) -> None:
        """Run the residual stream (B, N, C) through the model, adding up what each branch reads and writes."""
        recent: list[tuple[BranchMoments, Tensor, Tensor]] = []
        flat = torch.ones_like(self._roots[0])
        for branch in self._branches:
            self._add_stream(x, tokens.roots_with(flat), tokens)
            mine, roots = self._moments[branch.index], self._roots[branch.index]
            with self._arithmetic:
                read, heads = _read(branch, x)
                output = branch.writer(read).float()
            _add_heads(mine, heads, roots[None, None, :, None])
            root = tokens.roots_with(roots)
            rows = with_one(tokens.pick(read).float()) * root
            _add_moment(mine.gram, rows, rows)
            if mine.is_mlp:
                error.add(branch.index, rows[..., :-1].square().sum(dim=(0, 1)) * _energies(branch))
            mine.output += output.sum(dim=0).double()
            seen = tokens.pick(output)
            for step, (theirs, their_rows, their_root) in enumerate(reversed(recent)):
                _add_moment(theirs.ahead[step], their_rows, seen * their_root)
            recent = [*recent, (mine, rows, root)][-self._reach :] if self._reach else []
            x = x + output
        self._add_stream(x, tokens.roots_with(flat), tokens)

    def _add_stream(self, x: Tensor, root: Tensor, tokens: TokenSample) -> None:
        unit = unit_stream(tokens.pick(x), centred=self._centred)
        if tokens.places is not None:
            unit = unit * root
        self._stream += moment(unit, unit)

    def means(self, num_images: int, *, ranking_error: float) -> Moments:
        """Divide by what was summed over."""
        for mine in self._moments.values():
            mine.output /= num_images
            for total in (mine.gram, mine.ahead, mine.query, mine.key):
                total /= num_images * self.model.arch.num_tokens
        kept = {index: mine.to(torch.float32) for index, mine in self._moments.items()}
        stream = self._stream / self._stream.diagonal().mean().clamp_min(1e-12)
        return Moments(kept, stream, num_images=num_images, ranking_error=ranking_error)


def _add_moment(total: Tensor, x: Tensor, y: Tensor) -> None:
    """Add the sum of x yᵀ over all leading axes to ``total`` (K, J), in its own precision."""
    if total.dtype == torch.float32:  # in one pass: at these sizes the copies cost more than the product
        total.addmm_(x.flatten(0, -2).T, y.flatten(0, -2))
    else:
        total += moment(x, y)


def _energies(branch: Branch) -> Tensor:
    """Squared norm (e,) of what each hidden neuron writes."""
    return branch.writer.weight.square().sum(dim=0)


def _zero_moments(branch: Branch, model: PlainViT, reach: int) -> BranchMoments:
    body, dim, size = branch.body, model.arch.embed_dim, branch.writer.in_features + 1
    heads = (body.num_heads, body.qk_dim, body.qk_dim) if isinstance(body, Attention) else (0, 0, 0)
    shapes: tuple[tuple[int, ...], ...]
    shapes = ((size, size), (reach, size, dim), (model.arch.num_tokens, dim), heads, heads)
    dtype = torch.float64 if size <= DOUBLE_SIZE else torch.float32
    return BranchMoments(*(torch.zeros(shape, dtype=dtype, device=branch.writer.weight.device) for shape in shapes))


def _read(branch: Branch, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Return what the writer reads, and queries and keys where there are any."""
    z = branch.norm(x)
    if not isinstance(branch.body, Attention):
        return hidden_of(branch.body, z), None
    q, k, context = context_of(branch.body, z)
    return context, (q, k)


def _add_heads(moments: BranchMoments, heads: tuple[Tensor, Tensor] | None, root: Tensor) -> None:
    """Add up the moments of queries and keys (B, H, N, q)."""
    if heads is None:
        return
    q, k = (part.float() for part in heads)
    weighted = q * root
    moments.query += torch.einsum("bhnq,bhnp->hqp", weighted, weighted).double()
    k = k - k.mean(dim=2, keepdim=True)
    moments.key += torch.einsum("bhnq,bhnp->hqp", k, k).double()
