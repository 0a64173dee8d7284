"""The judge: successive halving with distillation decides among the study's best subnets.

Source: successive halving (Jamieson and Talwalkar, arXiv 1502.07943): short runs for many, longer ones for the
best quarter, the full run for one. The KL of untrained subnets orders them well but not perfectly; a few steps of
training order them better, and cost far less than training all of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.search.run_cost import RunCost, measure_run_cost
from nuwa_search.search.scorer import SubnetDeriver
from nuwa_search.search.seeds import MIN_DIFFERENT_BLOCKS, num_different_blocks
from nuwa_search.search.trials import StudyResult

KEEP_ONE_IN = 4
"""Share of a rung that goes on to the next, and factor between their steps: equal cost per rung."""

MAX_CANDIDATES = 16


@dataclass(frozen=True)
class Distilled:
    """A subnet after distillation, scored on the search split.

    Args:
        model: Its weights.
        top1: A fraction; None where pixels have classes.
        loss: Mean cross-entropy.
        score: The whole score; None where only the two above are known.
    """

    model: PlainViT
    top1: float | None
    loss: float
    score: SplitScore | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """Higher is better: the accuracy that counts, then lower loss."""
        return (self.top1 or 0.0, -self.loss) if self.score is None else self.score.merit


Tune = Callable[[PlainViT, int], Distilled]
"""Distils a copy of a subnet for so many steps."""


@dataclass(frozen=True)
class Candidate:
    """A subnet before training; ``name`` says where it is from."""

    name: str
    arch: Arch
    model: PlainViT


@dataclass(frozen=True)
class Rung:
    """So many candidates, each trained from its start for so many steps."""

    num_candidates: int
    steps: int


@dataclass(frozen=True)
class Judgement:
    """One candidate's result in one rung."""

    name: str
    arch: Arch
    steps: int
    top1: float | None
    loss: float
    score: SplitScore | None = None


@dataclass(frozen=True)
class Ranking:
    """Who won, with every result on the way.

    Args:
        winner: The candidate, as it was before training.
        tuned: The winner after the last rung.
        judgements: All results, rung by rung.
        rungs: The plan that was followed.
        seconds: Spent, probing included.
    """

    winner: Candidate
    tuned: Distilled
    judgements: tuple[Judgement, ...]
    rungs: tuple[Rung, ...]
    seconds: float


def plan_rungs(num_candidates: int, *, full_steps: int, cost: RunCost, seconds: float | None) -> tuple[Rung, ...]:
    """Plan the most candidates that fit the time; with too little even for one, shorten its run.

    Args:
        num_candidates: Candidates that can compete.
        full_steps: Training steps of the last rung.
        cost: Seconds that a run takes.
        seconds: Time for all runs in seconds; None is no limit.
    """
    for count in range(min(num_candidates, MAX_CANDIDATES), 0, -1):
        rungs = _halving(count, full_steps)
        if seconds is None or cost_of(rungs, cost) <= seconds:
            return rungs
    affordable = int(((seconds or 0.0) - cost.fixed_s) / cost.step_s) if cost.step_s > 0 else full_steps
    return (Rung(1, min(full_steps, max(1, affordable))),)


def cost_of(rungs: Sequence[Rung], cost: RunCost) -> float:
    """Seconds of a whole plan."""
    return sum(rung.num_candidates * cost.of(rung.steps) for rung in rungs)


def _halving(count: int, full_steps: int) -> tuple[Rung, ...]:
    rungs = [Rung(1, full_steps)]
    while rungs[0].num_candidates < count:
        entering = min(count, rungs[0].num_candidates * KEEP_ONE_IN)
        rungs.insert(0, Rung(entering, max(1, rungs[0].steps // KEEP_ONE_IN)))
    return tuple(rungs)


def pick_candidates(result: StudyResult, *, deriver: SubnetDeriver, count: int = MAX_CANDIDATES) -> list[Candidate]:
    """Derive the study's best subnets, near-duplicates only where nothing else is left.

    Raises:
        NuwaError: If the study has no subnet that fits.
    """
    if result.best is None:
        raise NuwaError("the study has no scored subnet that fits its budget", hint="give it more trials")
    fitting = sorted(result.fitting, key=lambda t: (t.kl is None, t.kl, t.number))
    taken: list[Arch] = []
    for least in (MIN_DIFFERENT_BLOCKS, 1):
        for trial in fitting:
            if len(taken) < count and all(num_different_blocks(trial.arch, arch) >= least for arch in taken):
                taken.append(trial.arch)
    numbers = {trial.arch: trial.number for trial in fitting}
    return [Candidate(f"trial {numbers[arch]}", arch, deriver.derive(arch)) for arch in taken]


def judge(
    candidates: Sequence[Candidate],
    *,
    tune: Tune,
    full_steps: int,
    seconds: float | None = None,
    rivals: Sequence[Candidate] = (),
    on_judgement: Callable[[Judgement], None] | None = None,
) -> Ranking:
    """Let candidates compete; rivals meet the winner in the last rung, at equal steps.

    Args:
        candidates: Best first; the first are taken where time is short.
        tune: Distils one; equal images and augmentation for all.
        full_steps: Training steps of the last rung.
        seconds: Time for all runs in seconds; None is no limit.
        rivals: Nets from elsewhere, such as a uniformly small ViT of equal latency.
        on_judgement: Called after each run.

    Raises:
        NuwaError: If there is no candidate.
    """
    if not candidates:
        raise NuwaError("the judge needs at least one candidate")
    start = time.perf_counter()
    num_planned = len(candidates)
    cost = RunCost(0.0, 0.0)
    if seconds is not None:
        cost = measure_run_cost(lambda steps: tune(candidates[0].model, steps))
        final_s = cost_of([Rung(len(rivals), full_steps)], cost)
        seconds = seconds - (time.perf_counter() - start) - final_s
    rungs = plan_rungs(num_planned, full_steps=full_steps, cost=cost, seconds=seconds)
    field = list(candidates[: rungs[0].num_candidates])
    judgements: list[Judgement] = []
    ranked: list[tuple[Candidate, Distilled]] = []
    for rung in rungs:
        entrants = field[: rung.num_candidates] + (list(rivals) if rung is rungs[-1] else [])
        ranked = []
        for candidate in entrants:
            tuned = tune(candidate.model, rung.steps)
            ranked.append((candidate, tuned))
            one = Judgement(candidate.name, candidate.arch, rung.steps, tuned.top1, tuned.loss, tuned.score)
            judgements.append(one)
            if on_judgement is not None:
                on_judgement(one)
        ranked.sort(key=lambda pair: pair[1].merit, reverse=True)  # stable: the better KL wins a tie
        field = [candidate for candidate, _ in ranked]
    winner, tuned = ranked[0]
    return Ranking(winner, tuned, tuple(judgements), rungs, time.perf_counter() - start)
