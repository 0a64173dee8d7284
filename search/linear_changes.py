"""Logits of nets that differ from one net in a branch or two, without running the branches behind.

One backward pass per direction of the logits gives ∂z/∂x behind every branch. A cut then needs only the branch that was
cut and, where it is gone, the writer before it: with the error e of the stream behind them, z changes by
Σ_tokens ⟨∂z/∂x, e⟩. What differs up to the last branch is exact. docs/search.md says how far the rest is from really
running.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.logits import images_at_once
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.forward import blocks_of
from nuwa_search.search.precision import scoring_context
from nuwa_search.search.streams import Streams, same_tensors

MAX_CLASSES = 8
"""Classes up to which a backward pass for each costs less than it saves: a pass takes about as long as two forward
passes, and the moves of one expansion, half a net each, as long as 24."""

KEPT_GRADIENTS = 4
"""Branches behind which gradients are kept: the cuts of a block, in whatever order, end behind two of them, those of
the block before it behind two more."""
_END = ("norm.", "fc_norm.", "head.")


@dataclass(frozen=True)
class _Branch:
    """One branch of a block, or the place of one that is not there.

    Args:
        norm: What it reads the stream through; None for no branch.
        body: Attention or MLP.
        shape: Its widths: tensors of the same sizes may be read as other heads.
    """

    norm: nn.Module | None
    body: nn.Module | None
    shape: tuple[int, ...]

    def run(self, x: Tensor) -> Tensor:
        """Add the branch to the stream (B, N, C)."""
        if self.norm is None or self.body is None:
            return x
        out: Tensor = x + self.body(self.norm(x))
        return out

    def is_like(self, other: "_Branch") -> bool:
        """Whether it has the very tensors of another."""
        pairs = ((self.norm, other.norm), (self.body, other.body))
        return self.shape == other.shape and all(
            (one is None and two is None)
            or (one is not None and two is not None and same_tensors(one.state_dict(), two.state_dict()))
            for one, two in pairs
        )


def _branches(net: PlainViT) -> list[_Branch]:
    """List attention and MLP of each block in turn, missing ones included."""
    found: list[_Branch] = []
    for block, spec in zip(blocks_of(net), net.arch.blocks, strict=True):
        found.append(_Branch(block.norm1, block.attn, (spec.num_heads, spec.qk_dim, spec.v_dim)))
        found.append(_Branch(block.norm2, block.mlp, (spec.mlp_width,)))
    return found


def net_changes(net: PlainViT, inputs: Tensor) -> "Streams | LinearChanges":
    """Choose how logits of nets like ``net`` are had."""
    return LinearChanges(net, inputs) if is_linearised(net.arch) else Streams(net, inputs)


def is_linearised(arch: Arch) -> bool:
    """Whether changes are taken from gradients: where an image has one answer out of few classes."""
    if arch.is_dense:  # each patch would take passes of its own
        return False
    return 1 < arch.num_classes <= MAX_CLASSES and arch.depth > 0


class LinearChanges:
    """Streams and gradients of one net on some images.

    Gradients are taken on the way from the last branch to the first, and only those behind a few branches are kept:
    nets that differ in later branches come first, or passes are made again.

    Args:
        net: What others are compared with.
        inputs: (B, 3, H, W), normalised.
    """

    @torch.inference_mode(False)
    def __init__(self, net: PlainViT, inputs: Tensor) -> None:
        self._net, self._inputs = net, inputs
        self._at_once = images_at_once(net)
        self._basis, self._branches = centred_basis(net.arch.num_classes).to(inputs.device), _branches(net)
        with torch.no_grad(), scoring_context(inputs.device):
            is_rounded = torch.is_autocast_enabled(inputs.device.type)
            self._kept_as = torch.bfloat16 if is_rounded else torch.float32  # as the forward passes
            x = net.embed(inputs).float()
            self._streams = {0: x}
            for behind, branch in enumerate(self._branches, start=1):
                x = self._run([branch], x)
                if behind % 2 == 0:  # within blocks they are run again
                    self._streams[behind] = x
            self._own = self._answer(net, x)
        self.logits = self._own.cpu()
        self._kept: dict[int, list[Tensor]] = {}
        self._within: dict[int, Tensor] = {}

    def _stream(self, place: int) -> Tensor:
        """Return the stream (B, N, C) behind ``place`` branches, float32."""
        if place in self._streams:
            return self._streams[place]
        if place not in self._within:
            with torch.inference_mode(False), torch.no_grad(), scoring_context(self._inputs.device):
                found = self._run([self._branches[place - 1]], self._streams[place - 1])
            while len(self._within) > 1:
                del self._within[max(self._within)]
            self._within[place] = found
        return self._within[place]

    def _answer(self, net: PlainViT, x: Tensor) -> Tensor:
        """Return logits (B, C) of a stream, in FP32 whatever the branches run in."""
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = net.head(net.pool(x))
        return logits

    def _run(self, branches: Sequence[_Branch], x: Tensor) -> Tensor:
        """Take the stream (B, N, C) through some branches, a few images at a time: float32."""
        if not any(branch.body is not None for branch in branches):
            return x.float()
        return torch.cat([_through_all(branches, part).float() for part in x.split(self._at_once)])

    def _gradients(self, place: int) -> list[Tensor]:
        """Return ∂z/∂x (B, N, C) behind ``place`` branches for each direction of the basis."""
        if not self._kept or place > max(self._kept):
            self._kept = {len(self._branches): self._last_gradients()}
        while (first := min(self._kept)) > place:
            branch, behind = self._branches[first - 1], self._kept[first]
            self._kept[first - 1] = (
                behind if branch.body is None else self._back(branch, self._stream(first - 1), behind)
            )
            while len(self._kept) > KEPT_GRADIENTS:
                del self._kept[max(self._kept)]
        return self._kept[place]

    @torch.inference_mode(False)
    def _back(self, branch: _Branch, before: Tensor, behind: Sequence[Tensor]) -> list[Tensor]:
        """Propagate gradients from behind a branch to before it, a few images at a time."""
        parts = zip(before.split(self._at_once), *(g.split(self._at_once) for g in behind), strict=True)
        found = [_through(branch, x, grads, self._kept_as) for x, *grads in parts]
        return [torch.cat(pieces) for pieces in zip(*found, strict=True)]

    def _last_gradients(self) -> list[Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            last = self._stream(len(self._branches)).detach().requires_grad_(True)
            sums = (self._net.head(self._net.pool(last)).float() @ self._basis).sum(dim=0)
            return [torch.autograd.grad(one, last, retain_graph=True)[0].to(self._kept_as) for one in sums]

    def run(self, model: PlainViT) -> Tensor:
        """Return logits (B, C) of ``model``, on the CPU: exact if it differs up to the last branch, else linearised."""
        branches = _branches(model)
        before, behind = _common(branches, self._branches)
        is_same_stem = same_tensors(_stem(model), _stem(self._net))
        if not is_same_stem:
            before = 0
        if not same_tensors(_end(model), _end(self._net)):
            behind = 0  # gradients speak of another head; run as the net itself was, whose rounding goes off then
        x = self._stream(before) if is_same_stem else model.embed(self._inputs)
        place = len(self._branches) - behind
        if not place:  # nothing but what stands before the first block differs: there are no gradients
            behind = 0
        x = self._run(branches[before : len(branches) - behind], x)
        if not behind:
            return self._answer(model, x).cpu()
        error = x - self._stream(place)
        moved = torch.stack([(g.float() * error).sum(dim=(1, 2)) for g in self._gradients(place)], dim=1)
        out: Tensor = self._own + moved @ self._basis.T
        return out.cpu()


def _common(mine: Sequence[_Branch], theirs: Sequence[_Branch]) -> tuple[int, int]:
    """Count leading, and of the rest trailing, branches of one net that are the other's."""

    def shared(pairs: Iterable[tuple[_Branch, _Branch]]) -> int:
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0].is_like(pair[1]), pairs))

    before = shared(zip(mine, theirs, strict=False))
    return before, shared(zip(reversed(mine[before:]), reversed(theirs[before:]), strict=False))


def centred_basis(num_classes: int) -> Tensor:
    """Return an orthonormal basis (C, C - 1) of logits that are centred over the classes (Helmert's)."""
    rows = torch.arange(1, num_classes)
    basis = torch.zeros(num_classes, num_classes - 1)
    for k in rows.tolist():
        basis[:k, k - 1] = 1.0
        basis[k, k - 1] = -float(k)
        basis[:, k - 1] /= (k * (k + 1)) ** 0.5
    return basis


def _through_all(branches: Sequence[_Branch], x: Tensor) -> Tensor:
    for branch in branches:
        x = branch.run(x)
    return x


def _through(branch: _Branch, before: Tensor, grads: Sequence[Tensor], kept_as: torch.dtype) -> list[Tensor]:
    """Propagate gradients from the output of a branch to its input."""
    with torch.enable_grad():
        before = before.detach().requires_grad_(True)
        with scoring_context(before.device):
            after = branch.run(before).float()
        return [torch.autograd.grad(after, before, g.float(), retain_graph=True)[0].to(kept_as) for g in grads]


def _stem(model: PlainViT) -> dict[str, Tensor]:
    """Return the tensors before the first block."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith(("blocks.", *_END))}


def _end(model: PlainViT) -> dict[str, Tensor]:
    """Return the tensors behind the last block."""
    return {k: v for k, v in model.state_dict().items() if k.startswith(_END)}
