"""The last choice: a few good and different subnets, solved once more on their own activations, scored again.

What ships is refined (``Deriver.derive_refined``), and refining helps some subnets far more than others: deep and
narrow ones gain the most. It takes too long to do for every candidate, so the study scores the quick derivation, and
only its best meet here, refined on fewer images than the winner will be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.core.paired import is_equal
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.scorer import Scorer, SubnetDeriver, SubnetScore
from nuwa_search.search.seeds import kl_limit, num_different_blocks
from nuwa_search.search.trials import StudyResult, TrialReport

NUM_FINALISTS = 3
"""In a search of the small base refining three and the winner takes 14 CPU seconds, the study before it 18
(``benchmarks/results/real_size.csv``)."""
LEAST_DIFFERENCES = (4, 2, 1)
"""Blocks in which finalists differ, as far as there are enough such subnets: near-duplicates refine alike."""
FAR_BEHIND = 2.0
"""Times the best's KL (``kl_limit``) above which a subnet is no finalist: refining took the best of ten searches that
were looked at to 0.44 to 0.94 of theirs, so one that far behind hardly ever wins (no command of the project repeats
it)."""
REFINE_IMAGES = 256
"""Training images for finalists, fewer than the winner's: the order of subnets is much the same, in a share of the
time."""
LARGE_REFINE_IMAGES = 96
"""The same for images of more than ``FEW_TOKENS`` tokens: they hold more tokens than 256 of 65, and the winner gets all
that ``refine.most_images`` lets in."""


@dataclass(frozen=True)
class Finalist:
    """A scored subnet of the study, and its score once refined."""

    trial: TrialReport
    refined: SubnetScore


@dataclass(frozen=True)
class _Refiner:
    """Derives refined subnets from fewer images than the winner will get."""

    deriver: Deriver
    max_images: int

    def derive(self, arch: Arch) -> PlainViT:
        return self.deriver.derive_refined(arch, max_images=self.max_images)


def refiner_of(deriver: Deriver, *, max_images: int = REFINE_IMAGES) -> SubnetDeriver:
    """Return a deriver that refines quickly, on at most ``max_images`` training images."""
    return _Refiner(deriver, max_images)


def pick_finalists(result: StudyResult, *, count: int = NUM_FINALISTS) -> list[TrialReport]:
    """List the study's best subnets that fit, best first, as different from each other as there are enough of.

    Those far behind the best are left out, however few remain.
    """
    ordered = sorted(result.fitting, key=lambda t: (t.kl is None, t.kl, t.number))
    best = ordered[0].kl if ordered else None
    if best is not None:
        limit = kl_limit(best, times=FAR_BEHIND)
        ordered = [t for t in ordered if t is ordered[0] or (t.kl is not None and t.kl <= limit)]
    taken: list[TrialReport] = []
    for least in LEAST_DIFFERENCES:
        for trial in ordered:
            if len(taken) < count and all(num_different_blocks(trial.arch, t.arch) >= least for t in taken):
                taken.append(trial)
    return sorted(taken, key=ordered.index)


def rank_finalists(
    trials: Sequence[TrialReport],
    *,
    refiner: SubnetDeriver,
    scorer: Scorer,
    known: dict[Arch, SubnetScore] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_finalist: Callable[[int, int], None] | None = None,
) -> list[Finalist]:
    """Refine and score finalists: least KL first, and the fastest of those that equal it before it.

    Equal are two whose paired bootstrap of the KL difference on the same images holds 0 and is below 2 %.

    Args:
        trials: Best first by the study; the first is always refined.
        refiner: Derives refined subnets.
        scorer: Of the study.
        known: Refined scores of earlier rounds; new ones are added.
        should_stop: Asked before each but the first.
        on_finalist: Called with (finalists done, finalists in all).
    """
    scores = {} if known is None else known
    found: list[Finalist] = []
    for trial in trials:
        if found and should_stop is not None and should_stop():
            break
        if trial.arch not in scores:
            scores[trial.arch] = scorer.score(refiner.derive(trial.arch))
        found.append(Finalist(trial, scores[trial.arch]))
        if on_finalist is not None:
            on_finalist(len(found), len(trials))
    return _fastest_of_equals_first(sorted(found, key=lambda finalist: finalist.refined.kl))


def _fastest_of_equals_first(ordered: list[Finalist]) -> list[Finalist]:
    """Put the fastest of those that equal the best before it: images that cannot tell two subnets apart, time can."""
    best = ordered[0]
    equals = [one for one in ordered if one is best or _is_equal(one.refined, best.refined)]
    winner = min(equals, key=lambda one: (one.trial.predicted_latency_ms, ordered.index(one)))
    return [winner, *(one for one in ordered if one is not winner)]


def _is_equal(one: SubnetScore, other: SubnetScore) -> bool:
    return len(one.kls) == len(other.kls) > 0 and is_equal(np.array(one.kls), np.array(other.kls))
