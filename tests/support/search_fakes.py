"""Fakes with closed forms: a latency, a score and a derivation whose right answers are known."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Self, cast

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.vit import PlainViT
from nuwa_search.predictors.contract import Prediction
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.space import BlockChoices, SearchSpace
from nuwa_search.search.trials import StudyResult, TrialReport

MakeSpace = Callable[..., SearchSpace]
"""``tiny_space`` with some of its arguments."""
KlOf = Callable[[Arch, Arch], float]


class CountingLatency:
    """Launch-bound milliseconds: 0.35 per attention branch, 0.25 per MLP branch, plus widths; ±2 %."""

    coverage = 0.9

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.corrections: list[float] = []

    def fit(self, archs: Sequence[Arch], values: Sequence[float]) -> Self:
        return self

    def ms(self, arch: Arch) -> float:
        total = 1.0
        for b in arch.blocks:
            total += 0.35 * b.has_attn + 0.25 * b.has_mlp
            total += 1e-3 * b.num_heads * (b.qk_dim + b.v_dim) + 5e-4 * b.mlp_width
        return total * arch.embed_dim / 64 * self.factor

    def predict(self, archs: Sequence[Arch]) -> Prediction:
        value = np.array([self.ms(arch) for arch in archs], dtype=np.float64)
        return Prediction(value, 0.98 * value, 1.02 * value)


class EmptyDeriver:
    """Hands the arch through: the synthetic score needs no weights. Counts what was paid for."""

    def __init__(self) -> None:
        self.derived: list[Arch] = []

    def derive(self, arch: Arch) -> PlainViT:
        self.derived.append(arch)
        model = PlainViT.__new__(PlainViT)
        object.__setattr__(model, "asked", arch)
        return model


def best_of(result: StudyResult) -> TrialReport:
    """The winner, where the test is about a study that has one."""
    assert result.best is not None
    return result.best


def scored_kl(trial: TrialReport) -> float:
    """The KL of a trial that was scored."""
    assert trial.kl is not None
    return trial.kl


def asked_of(model: PlainViT) -> Arch:
    """The arch that ``EmptyDeriver`` handed through."""
    return cast(Arch, model.asked)


def synthetic_kl(arch: Arch, base: Arch) -> float:
    """Missing shares of each branch, early ones dearer, with a pairwise interaction between neighbours."""
    missing: list[float] = []
    for i, (b, full) in enumerate(zip(arch.blocks, base.blocks, strict=True)):
        attn = 1 - b.num_heads * (b.qk_dim + b.v_dim) / (full.num_heads * (full.qk_dim + full.v_dim))
        mlp = 1 - b.mlp_width / full.mlp_width
        weight = 1.0 / (1 + (7 * i + 3) % 5)
        missing.append(weight * (0.4 * attn**2 + 0.6 * mlp**1.5))
    pairs = math.fsum(a * b for a, b in itertools.pairwise(missing))
    return 0.2 * sum(missing) + 0.3 * pairs + 0.1 * (1 - arch.embed_dim / base.embed_dim)


class SyntheticScorer:
    """Scores the arch that ``EmptyDeriver`` handed through."""

    def __init__(self, base: Arch) -> None:
        self.base = base
        self.scored: list[Arch] = []

    def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
        arch = asked_of(model)
        self.scored.append(arch)
        kl = synthetic_kl(arch, self.base)
        if give_up_above is not None and kl > give_up_above:
            return SubnetScore(kl, kl, 0.5, 128, is_partial=True)
        return SubnetScore(kl, kl, 1 - kl, 256)


def tiny_base(num_blocks: int = 3) -> Arch:
    return Arch(blocks=(BlockSpec(2, 16, 16, 64),) * num_blocks, embed_dim=64, num_classes=5, img_size=16, patch_size=8)


def tiny_space(num_blocks: int = 3, mlp: tuple[int, ...] = (0, 32, 64), heads: tuple[int, ...] = (0, 2)) -> SearchSpace:
    choices = BlockChoices(num_heads=heads, qk_dim=(16,), v_dim=(16,), mlp_width=mlp)
    return SearchSpace(base=tiny_base(num_blocks), blocks=(choices,) * num_blocks, embed_dims=(64,))
