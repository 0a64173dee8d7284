"""Solve a cut net's writers once more, in order, on its own activations.

The first solution assumes that everything before a branch is the base's. Here every writer of the residual stream
(``attn.proj``, ``mlp.fc2``) is solved against the base's stream where the next branch that stays reads it, given
what the cut net really hands it; at last the head against the base's logits. Errors of earlier cuts are then
corrected by later branches as far as these can. It takes a few hundred images, or it fits their noise.
"""

import torch
from torch import Tensor

from nuwa.arch import Arch
from nuwa.images import Preprocess
from nuwa.tensors import SplitTensors, normalise
from nuwa.vit import PlainViT
from search.derive.forward import Branch, branches_of, moment, with_one
from search.derive.linalg import solve_towards

REFINE_TOKENS = 3900
"""Tokens per step; bounds the memory of a solve's regressors."""


@torch.no_grad()
def refine(
    subnet: PlainViT,
    *,
    arch: Arch,
    base: PlainViT,
    split: SplitTensors,
    preprocess: Preprocess,
    ridge: float,
    to_subnet: Tensor | None = None,
) -> None:
    """Change ``subnet``'s writers and head in place.

    Args:
        subnet: Cut from ``base``.
        arch: Its arch with empty entries where blocks are gone.
        base: With the task's head.
        split: Images of the task.
        preprocess: Of the base.
        ridge: Towards the present weights, relative to the mean diagonal of each Gram matrix.
        to_subnet: (C', C) from the base's stream to the subnet's, where it was rotated.
    """
    inputs = [normalise(part.to(next(base.parameters()).device), preprocess) for part in _chunks(split, arch)]
    mine, theirs = [subnet.embed(x) for x in inputs], [base.embed(x) for x in inputs]
    kept = _kept(subnet, arch)
    ahead = list(branches_of(base))
    for place, (_, branch) in enumerate(kept):
        until = kept[place + 1][0] if place + 1 < len(kept) else 2 * len(arch.blocks)
        while ahead and ahead[0].index < until:
            step = ahead.pop(0)
            theirs = [x + step.writer(step.regressors(x)) for x in theirs]
        targets = theirs if to_subnet is None else [x @ to_subnet.T for x in theirs]
        mine = _solve_writer(branch, mine, targets, ridge)
    _solve_head(subnet, mine, base, theirs, ridge)


def _chunks(split: SplitTensors, arch: Arch) -> tuple[Tensor, ...]:
    return torch.split(split.images, max(1, REFINE_TOKENS // arch.num_tokens))


def _kept(subnet: PlainViT, arch: Arch) -> list[tuple[int, Branch]]:
    """Pair the subnet's branches with the index of the base's branch each was cut from."""
    blocks = [i for i, block in enumerate(arch.blocks) if not block.is_empty]
    return [(2 * blocks[branch.index // 2] + branch.index % 2, branch) for branch in branches_of(subnet)]


def _solve_writer(branch: Branch, streams: list[Tensor], targets: list[Tensor], ridge: float) -> list[Tensor]:
    reads = [branch.regressors(x) for x in streams]
    wanted = [target - x for target, x in zip(targets, streams, strict=True)]
    _solve_linear(branch.writer, reads, wanted, ridge)
    return [x + branch.writer(read) for x, read in zip(streams, reads, strict=True)]


def _solve_head(
    subnet: PlainViT, streams: list[Tensor], base: PlainViT, base_streams: list[Tensor], ridge: float
) -> None:
    features = [subnet.pool(x) for x in streams]
    logits = [base.head(base.pool(x)) for x in base_streams]
    _solve_linear(subnet.head, features, logits, ridge)


def _solve_linear(layer: torch.nn.Linear, reads: list[Tensor], wanted: list[Tensor], ridge: float) -> None:
    rows = [with_one(read) for read in reads]
    count = sum(row.shape[:-1].numel() for row in rows)
    gram = torch.stack([moment(row, row) for row in rows]).sum(dim=0) / count
    cross = torch.stack([moment(out, row) for out, row in zip(wanted, rows, strict=True)]).sum(dim=0) / count
    prior = torch.cat([layer.weight, layer.bias[:, None]], dim=1).double()
    solved = solve_towards(gram, cross, prior, ridge).to(layer.weight.dtype)
    layer.weight.copy_(solved[:, :-1])
    layer.bias.copy_(solved[:, -1])
