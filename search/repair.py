"""Verify and repair: the winner is measured; a miss corrects the predictor and the search goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, Self, TypeVar

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Measurement
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Predictor

BudgetStatistic = Literal["median", "p95", "p99"]

MAX_ROUNDS = 3
"""Builds and measurements before the search gives up; each correction removes most of what was missed by."""

W = TypeVar("W")


class CorrectablePredictor(Predictor, Protocol):
    """A latency predictor that learns from one measured net without a refit."""

    def corrected(self, arch: Arch, measured_ms: float) -> Self:
        """Return a predictor that knows this measurement."""
        ...


P = TypeVar("P", bound=CorrectablePredictor)


@dataclass(frozen=True)
class RepairRound:
    """One built and measured winner.

    Args:
        arch: Its shape.
        predicted_latency_ms: What was promised.
        predicted_interval_ms: Its interval; the upper end was within the budget.
        measurement: What was found.
        measured_ms: The statistic held against the budget.
        is_met: Whether it is within the budget.
    """

    arch: Arch
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    measurement: Measurement
    measured_ms: float
    is_met: bool


@dataclass(frozen=True)
class RepairResult(Generic[W, P]):
    """How it ended.

    Args:
        winner: Last winner measured; the one to ship if ``is_met``.
        is_met: Whether it keeps the budget as measured.
        rounds: All measured winners, first to last.
        latency: The predictor with all corrections.
        reason: Why it ended without success; empty otherwise.
    """

    winner: W
    is_met: bool
    rounds: tuple[RepairRound, ...]
    latency: P
    reason: str = ""


def verify_and_repair(
    winner: W,
    *,
    arch_of: Callable[[W], Arch],
    measure: Callable[[W], Measurement],
    search_on: Callable[[P], W | None],
    latency: P,
    budget_ms: float,
    statistic: BudgetStatistic = "median",
    max_rounds: int = MAX_ROUNDS,
    on_round: Callable[[RepairRound], None] | None = None,
) -> RepairResult[W, P]:
    """Measure the winner; while it misses the budget, correct the predictor and search on.

    Args:
        winner: Of the search so far.
        arch_of: Its shape.
        measure: Builds it and measures it on the device.
        search_on: Goes on with the study from where it was, under the corrected predictor; None when nothing
            fits any more.
        latency: Predictor the search used.
        budget_ms: What the measured statistic must not exceed.
        statistic: Of the measurement.
        max_rounds: Measurements at most, the first included.
        on_round: Called after each measurement.

    Raises:
        NuwaError: If ``max_rounds`` is below 1.
    """
    if max_rounds < 1:
        raise NuwaError(f"verification needs at least one round, found {max_rounds}")
    rounds: list[RepairRound] = []
    while True:
        arch = arch_of(winner)
        found = _measure(arch, measure(winner), latency, budget_ms=budget_ms, statistic=statistic)
        rounds.append(found)
        if on_round is not None:
            on_round(found)
        if found.is_met:
            return RepairResult(winner, True, tuple(rounds), latency)
        latency = latency.corrected(arch, found.measurement.latency_ms.median)
        if len(rounds) >= max_rounds:
            reason = f"missed in all {max_rounds} rounds"
            return RepairResult(winner, False, tuple(rounds), latency, reason)
        following = search_on(latency)
        if following is None:
            return RepairResult(winner, False, tuple(rounds), latency, "nothing fits by the corrected predictor")
        if arch_of(following) == arch:
            return RepairResult(winner, False, tuple(rounds), latency, "the search found no other subnet")
        winner = following


def _measure(
    arch: Arch, measurement: Measurement, latency: Predictor, *, budget_ms: float, statistic: BudgetStatistic
) -> RepairRound:
    prediction = latency.predict([arch])
    measured_ms: float = getattr(measurement.latency_ms, statistic)
    return RepairRound(
        arch=arch,
        predicted_latency_ms=float(prediction.value[0]),
        predicted_interval_ms=(float(prediction.lower[0]), float(prediction.upper[0])),
        measurement=measurement,
        measured_ms=measured_ms,
        is_met=measured_ms <= budget_ms,
    )
