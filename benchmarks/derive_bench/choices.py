"""What each branch of a base may become, and what each replacement alone costs in KL to the base.

The idea of a library of single replacements is Puzzle's (arXiv 2411.19146). The residual stream before the first
changed block is the base's, so only the rest of the net runs. The program's own library,
``nuwa_search.search.library``, replaces what a search space allows; this one replaces every branch by fixed shares
of its width: what a comparison of ways to cut at equal MACs wants, and what its committed tables were made with.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.rotation import narrow

MLP_SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Measured; a halving of the width multiplies the loss by a near constant, so others are interpolated."""
MLP_BETWEEN = (3 / 4, 3 / 8, 3 / 16, 3 / 32)
ATTN_SHARES = (
    (1, 1 / 4, 1 / 2),
    (1, 1 / 8, 1 / 2),
    (1, 1 / 4, 1 / 4),
    (2 / 3, 1 / 4, 1 / 2),
    (1, 1 / 8, 1 / 4),
    (2 / 3, 1 / 8, 1 / 4),
    (1 / 3, 1 / 4, 1 / 2),
)
"""Heads, QK width, VO width: query and key lose almost nothing down to a quarter."""
EMBED_SHARES = (11 / 12, 5 / 6, 3 / 4)


@dataclass(frozen=True)
class BranchChoice:
    """One shape of one branch: ``spec`` has zeros for the other branch; ``kl`` in nats."""

    spec: BlockSpec
    kl: float


@dataclass(frozen=True)
class ChoiceLibrary:
    """What each branch may become and what that costs alone.

    Args:
        base: Arch of the base.
        branches: By branch (2·block for attention, 2·block + 1 for the MLP), most expensive first.
        embed: KL by embedding width.
    """

    base: Arch
    branches: tuple[tuple[BranchChoice, ...], ...]
    embed: dict[int, float]

    def without_removal(self) -> "ChoiceLibrary":
        """Leave out dropped branches and narrowed streams: what width pruning alone may do."""
        kept = tuple(tuple(c for c in row if not c.spec.is_empty) for row in self.branches)
        return dataclasses.replace(self, branches=kept, embed={self.base.embed_dim: 0.0})


class KlJudge:
    """KL of a subnet to its base's logits on fixed images."""

    def __init__(self, base: PlainViT, split: SplitTensors, preprocess: Preprocess) -> None:
        self.base = base
        self.inputs = normalise(split.images.to(next(base.parameters()).device), preprocess)
        with torch.inference_mode():
            self.teacher = base(self.inputs).log_softmax(dim=1)

    @torch.inference_mode()
    def kl(self, model: PlainViT) -> float:
        """Mean KL(teacher ‖ model) in nats."""
        return self._kl(model(self.inputs))

    def _kl(self, logits: Tensor) -> float:
        return float(F.kl_div(logits.log_softmax(dim=1), self.teacher, log_target=True, reduction="batchmean"))

    @torch.inference_mode()
    def tail_kl(self, model: PlainViT, stream: Tensor, start: int) -> float:
        """KL of a model whose blocks before ``start`` are the base's, given the stream (B, N, C) there."""
        x = stream
        for block in list(model.blocks)[start:]:
            x = block(x)
        return self._kl(model.head(model.pool(x)))


def _eights(width: float, full: int) -> int:
    """Round to a multiple of 8 within 8..full, or to at least 1 where full is smaller."""
    return min(full, max(8, round(width / 8) * 8)) if full >= 8 else max(1, round(width))


def attn_choices(full: BlockSpec) -> list[BlockSpec]:
    """Shapes of the attention branch that are measured, the removed one last."""
    shapes = [
        BlockSpec(max(1, round(h * full.num_heads)), _quarters(q, full.qk_dim), _quarters(v, full.v_dim), 0)
        for h, q, v in ATTN_SHARES
    ]
    return [*dict.fromkeys(shapes), BlockSpec(0, 0, 0, 0)]


def _quarters(share: float, full: int) -> int:
    return max(min(full, 4), round(share * full / 4) * 4)


@torch.no_grad()
def measure_choices(deriver: Deriver, split: SplitTensors, preprocess: Preprocess) -> ChoiceLibrary:
    """Replace every branch alone by every choice and score the whole net; the stream up to there is reused.

    Args:
        deriver: Of the base and task.
        split: Images to score on: of the training data, better not those of the statistics; a hundred do.
        preprocess: Of the base.
    """
    base = deriver.prepare().model
    judge = KlJudge(base, split, preprocess)
    rows: list[tuple[BranchChoice, ...]] = []
    before = here = base.embed(judge.inputs)
    for i, full in enumerate(base.arch.blocks):
        attn, mlp = dataclasses.replace(full, mlp_width=0), BlockSpec(0, 0, 0, full.mlp_width)
        for own, options in ((attn, attn_choices(full)), (mlp, mlp_choices(full, MLP_SHARES))):
            row = [BranchChoice(own, 0.0)]
            for spec in options if not own.is_empty else []:
                arch = _with_branch(base.arch, i, spec, is_mlp=own is mlp)
                model = deriver.derive(arch)
                # a removed branch changes the writer before it, in the previous block at the earliest
                kl = judge.kl(model) if i == 0 else judge.tail_kl(model, before, _place(arch, i - 1))
                row.append(BranchChoice(spec, kl))
            rows.append(_interpolated(row, full) if own is mlp else tuple(row))
        before, here = here, base.blocks[i](here)
    return ChoiceLibrary(base.arch, tuple(rows), _measure_embed(deriver, base.arch, judge))


def _measure_embed(deriver: Deriver, arch: Arch, judge: KlJudge) -> dict[int, float]:
    costs = {arch.embed_dim: 0.0}
    if not arch.pre_norm and arch.final_norm != "none":
        for share in EMBED_SHARES:
            width = _eights(share * arch.embed_dim, arch.embed_dim)
            if width < arch.embed_dim:
                costs[width] = judge.kl(deriver.derive(narrow(arch, width)))
    return costs


def _place(arch: Arch, index: int) -> int:
    return sum(not block.is_empty for block in arch.blocks[:index])


def mlp_choices(full: BlockSpec, shares: Sequence[float]) -> list[BlockSpec]:
    """MLP widths at ``shares`` of the full one, falling, then the removed branch."""
    widths = {_eights(share * full.mlp_width, full.mlp_width) for share in shares}
    return [BlockSpec(0, 0, 0, width) for width in [*sorted(widths - {full.mlp_width}, reverse=True), 0]]


def _with_branch(arch: Arch, index: int, spec: BlockSpec, *, is_mlp: bool) -> Arch:
    old = arch.blocks[index]
    new = (
        dataclasses.replace(old, mlp_width=spec.mlp_width)
        if is_mlp
        else dataclasses.replace(spec, mlp_width=old.mlp_width)
    )
    return dataclasses.replace(arch, blocks=(*arch.blocks[:index], new, *arch.blocks[index + 1 :]))


def _interpolated(row: Sequence[BranchChoice], full: BlockSpec) -> tuple[BranchChoice, ...]:
    """Add widths between and above the measured ones: log KL is close to linear in log width."""
    points = sorted((c.spec.mlp_width, max(c.kl, 1e-6)) for c in row if 0 < c.spec.mlp_width < full.mlp_width)
    if len(points) < 2:
        return tuple(row)
    xs, ys = np.log(np.array(points, dtype=np.float64)).T
    slope = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    known = {c.spec.mlp_width for c in row}
    added = []
    for spec in mlp_choices(full, MLP_BETWEEN):
        if spec.mlp_width not in known:
            x = np.log(spec.mlp_width)
            y = np.interp(x, xs, ys) + max(0.0, x - xs[-1]) * min(slope, 0.0)
            added.append(BranchChoice(spec, float(np.exp(y))))
    return tuple(sorted([*row, *added], key=lambda c: -c.spec.mlp_width))
