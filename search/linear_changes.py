"""Logits of nets that differ from one net in a block or two, without running the blocks behind.

One backward pass per direction of the logits gives ∂z/∂x at every block boundary. A cut in block l then needs only its
own block run: with the error e of the stream behind it, z changes by Σ_tokens ⟨∂z/∂x, e⟩. What differs up to the last
block is exact. docs/search.md says how far the rest is from really running.
"""

import functools
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.traced import plain_block
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.precision import scoring_context
from nuwa_search.search.streams import Streams, same_tensors

MAX_CLASSES = 8
"""Classes up to which a backward pass for each costs less than it saves: a pass takes about as long as two forward
passes, and the moves of one expansion, half a net each, as long as 24."""

_END = ("norm.", "fc_norm.", "head.")
_Shaped = tuple[nn.Module, BlockSpec]


def net_changes(net: PlainViT, inputs: Tensor) -> "Streams | LinearChanges":
    """Choose how logits of nets like ``net`` are had."""
    return LinearChanges(net, inputs) if is_linearised(net.arch) else Streams(net, inputs)


def is_linearised(arch: Arch) -> bool:
    """Whether changes are taken from gradients: where images are large and classes few."""
    if arch.is_dense:  # each patch would take passes of its own
        return False
    return not is_small(arch) and 1 < arch.num_classes <= MAX_CLASSES and arch.depth > 0


class LinearChanges:
    """Streams and gradients of one net on some images.

    Args:
        net: What others are compared with.
        inputs: (B, 3, H, W), normalised.
    """

    def __init__(self, net: PlainViT, inputs: Tensor) -> None:
        self._net, self._inputs = net, inputs
        basis = centred_basis(net.arch.num_classes).to(inputs.device)
        self._basis = basis
        with torch.no_grad(), scoring_context(inputs.device):
            kept_as = (
                torch.bfloat16 if torch.is_autocast_enabled(inputs.device.type) else torch.float32
            )  # as the forward passes
            x = net.embed(inputs).float()
            self._streams = [x]
            for block in net.blocks:
                x = plain_block(block, x).float()
                self._streams.append(x)
        self._gradients: list[list[Tensor]] = []
        with torch.enable_grad():
            last = self._streams[-1].requires_grad_(True)
            logits = net.head(net.pool(last)).float()
            sums = (logits @ basis).sum(dim=0)
            grads = [torch.autograd.grad(one, last, retain_graph=True)[0] for one in sums]
            self.logits = logits.detach().cpu()
            self._own = logits.detach()
            last.requires_grad_(False)
            self._gradients.append([g.to(kept_as) for g in grads])
            for block, before in zip(reversed(list(net.blocks)[1:]), reversed(self._streams[1:-1]), strict=True):
                grads = _through(functools.partial(plain_block, block), before, grads)
                self._gradients.append([g.to(kept_as) for g in grads])
        self._gradients.reverse()  # entry l - 1 is behind l blocks

    def run(self, model: PlainViT) -> Tensor:
        """Return logits (B, C) of ``model``, on the CPU: exact if it differs up to the last block, else linearised."""
        before, behind = _common(model, self._net)
        is_same_stem = same_tensors(_stem(model), _stem(self._net))
        if not is_same_stem:
            before = 0
        if not same_tensors(_end(model), _end(self._net)):
            behind = 0  # gradients speak of another head; run as the net itself was, whose rounding goes off then
        x = self._streams[before] if is_same_stem else model.embed(self._inputs)
        place = len(self._net.blocks) - behind
        if not place:  # nothing but what stands before the first block differs: there are no gradients
            behind = 0
        for block in list(model.blocks)[before : len(model.blocks) - behind]:
            x = plain_block(block, x)
        if not behind:
            logits: Tensor = model.head(model.pool(x))
            return logits.float().cpu()
        error = x.float() - self._streams[place]
        moved = torch.stack([(g.float() * error).sum(dim=(1, 2)) for g in self._gradients[place - 1]], dim=1)
        out: Tensor = self._own + moved @ self._basis.T
        return out.cpu()


def _common(model: PlainViT, other: PlainViT) -> tuple[int, int]:
    """Count leading, and of the rest trailing, blocks of one net that are the other's."""
    mine, theirs = (
        list(zip(model.blocks, model.arch.blocks, strict=True)),
        list(zip(other.blocks, other.arch.blocks, strict=True)),
    )

    def shared(pairs: Iterable[tuple[_Shaped, _Shaped]]) -> int:
        same = (one[1] == two[1] and same_tensors(one[0].state_dict(), two[0].state_dict()) for one, two in pairs)
        return sum(1 for _ in itertools.takewhile(bool, same))

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


def _through(run: functools.partial[Tensor], before: Tensor, grads: list[Tensor]) -> list[Tensor]:
    """Propagate gradients from the output of a block to its input."""
    before = before.detach().requires_grad_(True)
    with scoring_context(before.device):
        after = run(before).float()
    return [torch.autograd.grad(after, before, g, retain_graph=True)[0] for g in grads]


def _stem(model: PlainViT) -> dict[str, Tensor]:
    """Return the tensors before the first block."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith(("blocks.", *_END))}


def _end(model: PlainViT) -> dict[str, Tensor]:
    """Return the tensors behind the last block."""
    return {k: v for k, v in model.state_dict().items() if k.startswith(_END)}
