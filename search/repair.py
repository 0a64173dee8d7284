"""Measure and repair: what a search settles on is measured, and a missed limit corrects what had promised it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol, Self, TypeVar

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget, Verdict, joint_verdict
from nuwa_search.core.device import Measurement
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Predictor
from nuwa_search.predictors.memory import MemoryEstimate
from nuwa_search.search.feasible import BudgetTooSmallError

MAX_ROUNDS = 4
"""Searches before it is given up; each correction removes most of what was missed by."""
MAX_FINISHES = 2
"""Winners that are finished (fine-tuned, exported, proven): the second where the first missed only then."""

Stage = Literal["found", "finished"]


class CorrectablePredictor(Predictor, Protocol):
    """A latency predictor that learns from one measured net without a refit."""

    def corrected(self, arch: Arch, measured_ms: float) -> Self:
        """Return a predictor that knows this measurement."""
        ...


class HasArch(Protocol):
    """A winner, as found or as finished."""

    @property
    def arch(self) -> Arch: ...


class Finished(HasArch, Protocol):
    """A winner as it would be shipped, measured."""

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """On each device, in the order of their budgets."""
        ...


P = TypeVar("P", bound=CorrectablePredictor)
W = TypeVar("W", bound=HasArch)
F = TypeVar("F", bound=Finished)


@dataclass(frozen=True)
class Promises(Generic[P]):
    """Predictors that a study checks its proposals with on one device; a measured miss corrects the one that was wrong.

    Args:
        latency: Predicts medians, in milliseconds.
        tail: The budgeted statistic over the median, as nets on this device have it; 1 for the median itself.
        memory: Estimates peak memory; None where it is not limited.
    """

    latency: P
    tail: float = 1.0
    memory: MemoryEstimate | None = None

    def corrected(self, arch: Arch, measurement: Measurement, *, budget: Budget) -> "Promises[P]":
        """Learn from a measured net that missed a limit; what kept its promise stays as it is."""
        missed, stats, after = budget.check(measurement), measurement.latency_ms, self
        if missed.exceeds("latency"):
            tail = max(self.tail, budget.tail(stats))
            after = replace(after, latency=self.latency.corrected(arch, stats.median), tail=tail)
        if missed.exceeds("memory") and self.memory is not None and measurement.peak_memory_mb is not None:
            after = replace(after, memory=self.memory.corrected(arch, measurement.peak_memory_mb))
        return after


@dataclass(frozen=True)
class Reading:
    """One winner on one device.

    Args:
        predicted_latency_ms: Predicted latency in milliseconds.
        predicted_interval_ms: Its interval; the upper end was within the limit.
        measurement: What was measured.
        verdict: Verdict of the device's budget on the measurement.
    """

    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    measurement: Measurement
    verdict: Verdict


@dataclass(frozen=True)
class Attempt:
    """One winner, exported and measured on every device.

    Args:
        stage: As it was found, or finished.
        arch: Its shape.
        readings: On each device, in the order of their budgets.
    """

    stage: Stage
    arch: Arch
    readings: tuple[Reading, ...]

    @property
    def verdict(self) -> Verdict:
        """Verdict over all budgets together."""
        return joint_verdict({one.measurement.device.name: one.verdict for one in self.readings})


@dataclass(frozen=True)
class Repaired(Generic[W, F, P]):
    """Result of the loop.

    Args:
        winner: Last winner measured.
        finished: It as it would be shipped; None where it missed the budget as it was found already.
        attempts: Everything measured, first to last; at least one.
        promises: What the last winner was held against on each device: with the corrections of all misses before it.
        reason: Why it ended without success, and which limit was missed; empty otherwise.
        too_small: What the search ended with, where nothing fits by the corrected predictors.
    """

    winner: W
    finished: F | None
    attempts: tuple[Attempt, ...]
    promises: tuple[Promises[P], ...]
    reason: str = ""
    too_small: BudgetTooSmallError | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict on the winner that was measured last."""
        return self.attempts[-1].verdict

    @property
    def num_repairs(self) -> int:
        """Misses after which the search went on."""
        return sum(not attempt.verdict.is_met for attempt in self.attempts[:-1])


def search_and_repair(
    search: Callable[[tuple[Promises[P], ...]], W | None],
    *,
    measure: Callable[[W], tuple[Measurement, ...]],
    finish: Callable[[W, tuple[Promises[P], ...]], F],
    promises: Sequence[Promises[P]],
    budgets: Sequence[Budget],
    max_rounds: int = MAX_ROUNDS,
    max_finishes: int = MAX_FINISHES,
    on_attempt: Callable[[Attempt], None] | None = None,
) -> Repaired[W, F, P]:
    """Search, measure, finish and measure again; a missed limit corrects its promise and the search goes on.

    With several devices a miss on any of them corrects what had promised it there, and only that.

    Args:
        search: Finds a winner, going on from where it was; None when nothing that fits was scored.
        measure: Builds a winner as it was found and measures it on every device.
        finish: Makes of a winner what would be shipped (it may be another net), and measures that.
        promises: To start from, one per device.
        budgets: Judge every measurement, one per device in the same order.
        max_rounds: Searches at most.
        max_finishes: Winners finished at most.
        on_attempt: Called after each measurement.

    Raises:
        BudgetTooSmallError: If nothing fits from the start.
        NuwaError: If ``max_rounds`` is below 1, or the first search finds nothing.
    """
    if max_rounds < 1 or max_finishes < 1:
        raise NuwaError(f"a search needs at least one round and one finish, found {max_rounds} and {max_finishes}")
    attempts: list[Attempt] = []
    held = tuple(promises)
    winner: W | None = None
    finished: F | None = None
    too_small: BudgetTooSmallError | None = None
    reason = f"missed in all {max_rounds} rounds"

    def judged(stage: Stage, arch: Arch, measurements: tuple[Measurement, ...]) -> Attempt:
        attempts.append(Attempt(stage, arch, _readings(arch, measurements, promises=held, budgets=budgets)))
        if on_attempt is not None:
            on_attempt(attempts[-1])
        return attempts[-1]

    for _ in range(max_rounds):
        corrected = _corrected(held, attempts[-1], budgets=budgets) if attempts else held
        try:
            following = search(corrected)
        except BudgetTooSmallError as error:
            if not attempts:
                raise
            reason, too_small = "nothing fits by the corrected predictors", error
            break
        if following is None:
            reason = "nothing that fits by the corrected predictors was scored"
            break
        if following.arch in {attempt.arch for attempt in attempts if not attempt.verdict.is_met}:
            reason = "the search found no other subnet"
            break
        winner, finished, held = following, None, corrected
        last = judged("found", winner.arch, measure(winner))
        if last.verdict.is_met:
            finished = finish(winner, held)
            last = judged("finished", finished.arch, finished.measurements)
            if last.verdict.is_met:
                return Repaired(winner, finished, tuple(attempts), held)
        if sum(attempt.stage == "finished" for attempt in attempts) >= max_finishes:
            reason = f"missed by {max_finishes} finished winners"
            break
    if winner is None:
        raise NuwaError(
            "the study ended before any subnet that fits was scored", hint="give it more --trials or --timeout-s"
        )
    told = f"{reason}; the last: {attempts[-1].verdict.reason}"
    return Repaired(winner, finished, tuple(attempts), held, told, too_small)


def _corrected(held: tuple[Promises[P], ...], last: Attempt, *, budgets: Sequence[Budget]) -> tuple[Promises[P], ...]:
    """Correct what each device was promised by what the last winner took there."""
    return tuple(
        one.corrected(last.arch, reading.measurement, budget=budget)
        for one, reading, budget in zip(held, last.readings, budgets, strict=True)
    )


def _readings(
    arch: Arch, measurements: Sequence[Measurement], *, promises: Sequence[Promises[P]], budgets: Sequence[Budget]
) -> tuple[Reading, ...]:
    readings = []
    for measurement, promise, budget in zip(measurements, promises, budgets, strict=True):
        found = promise.latency.predict([arch])
        value, low, high = (float(part[0]) for part in (found.value, found.lower, found.upper))
        readings.append(Reading(value, (low, high), measurement, budget.check(measurement)))
    return tuple(readings)
