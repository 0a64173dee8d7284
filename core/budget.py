"""The budget: what a measured model must keep to, and by how much it does not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from nuwa_search.core.budget_statistic import BUDGET_STATISTICS, BudgetStatistic
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, Provenance
from nuwa_search.core.errors import NuwaError

Limit = Literal["latency", "memory"]

MARGIN_SDS = 2.0
"""Standard deviations of one measurement left free below the budget where there must be room for noise: what is
measured once more, when it is shipped, shall keep the budget too."""
LEAST_SHARE = 0.5
"""Share of the budget that is used however noisy the device is."""

_UNITS: dict[Limit, str] = {"latency": "ms", "memory": "MB"}


@dataclass(frozen=True)
class Excess:
    """One limit that a measurement does not keep.

    Args:
        limit: Which.
        found: What was measured, in milliseconds or MB; None where the device does not tell.
        allowed: At most this, in the same unit.
        statistic: Of a latency.
        device: Where it was measured; empty where there is one device only.
    """

    limit: Limit
    found: float | None
    allowed: float
    statistic: BudgetStatistic = "median"
    device: str = ""

    @property
    def over(self) -> float | None:
        """By how much, in the limit's unit; None where the device does not tell."""
        return None if self.found is None else self.found - self.allowed

    @property
    def words(self) -> str:
        """Say it: ``latency (p95) 12.30 ms, 2.30 over the budget of 10 ms``; of several devices ``on NAME:`` first."""
        return f"on {self.device}: {self._words}" if self.device else self._words

    @property
    def _words(self) -> str:
        unit = _UNITS[self.limit]
        if self.found is None or self.over is None:
            return f"peak memory is not told by the device, and at most {self.allowed:g} {unit} are allowed"
        if self.limit == "memory":
            return f"peak memory {self.found:.1f} {unit}, {_short(self.over)} over the limit of {self.allowed:g} {unit}"
        return (
            f"latency ({self.statistic}) {self.found:.2f} {unit}, {_short(self.over)} over the budget of "
            f"{self.allowed:g} {unit}"
        )


def _short(value: float) -> str:
    """Two places, or one digit of what two places would call nothing."""
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1g}"


@dataclass(frozen=True)
class Verdict:
    """What a budget says of one measurement.

    Args:
        excesses: The limits that were exceeded, latency first; empty where all are kept.
        provenance: Of the measurement: a verdict on an emulated figure says so.
    """

    excesses: tuple[Excess, ...]
    provenance: Provenance

    @property
    def is_met(self) -> bool:
        """Whether every limit is kept."""
        return not self.excesses

    @property
    def word(self) -> str:
        """``met`` or ``missed``; ``met (emulated)`` where nothing real was measured."""
        word = "met" if self.is_met else "missed"
        return word if self.provenance == "measured" else f"{word} ({self.provenance})"

    @property
    def reason(self) -> str:
        """Return which limits were exceeded and by how much; empty where all are kept."""
        return "; ".join(excess.words for excess in self.excesses)

    def exceeds(self, limit: Limit) -> bool:
        """Whether it was this limit, maybe among others."""
        return any(excess.limit == limit for excess in self.excesses)


def joint_verdict(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Put together what each device's budget says of one model: it is met where all are.

    Args:
        verdicts: By device, at least one. Of one alone it is that; of several, each excess names its device, and one
            verdict that nothing real was measured for makes the whole one so.
    """
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    excesses = [replace(one, device=device) for device, verdict in verdicts.items() for one in verdict.excesses]
    unreal = [v.provenance for v in verdicts.values() if v.provenance != "measured"]
    return Verdict(tuple(excesses), unreal[0] if unreal else "measured")


def require_statistic(statistic: BudgetStatistic | None, spec: DeviceSpec) -> None:
    """Refuse a statistic that a device cannot have.

    Raises:
        NuwaError: If the level under sustained load is asked of an emulated board.
    """
    if statistic == "sustained" and spec.kind == "emulated":
        raise NuwaError(
            f"the level under sustained load was asked of {spec.name}, which is emulated: a model of latencies does "
            "not grow warm, and how a board throttles depends on its case, fan and supply",
            hint="name a real board with --device (nuwa device add), or compare the median, p95 or p99",
        )


@dataclass(frozen=True)
class Budget:
    """The limits of a compiled model on one device: the only judge of a measurement.

    Args:
        ms: Milliseconds that the statistic of the measured latency must not exceed.
        statistic: Which one.
        max_memory_mb: Peak memory at most, as ``core/peak_memory.py`` counts it; None sets no limit.
        relative_sd: Standard deviation of one measurement on the device as a fraction of it: sets how much room
            is left where there must be room for noise. 0 leaves none.

    Raises:
        NuwaError: If a limit is not positive, or the statistic is unknown.
    """

    ms: float
    statistic: BudgetStatistic = "median"
    max_memory_mb: float | None = None
    relative_sd: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.ms < math.inf:
            raise NuwaError(f"a budget needs a positive number of milliseconds, found {self.ms}", hint="such as 30")
        if self.max_memory_mb is not None and not 0 < self.max_memory_mb < math.inf:
            raise NuwaError(f"a memory limit needs a positive number of MB, found {self.max_memory_mb}")
        if self.statistic not in BUDGET_STATISTICS:
            raise NuwaError(
                f"a budget knows no statistic {self.statistic!r}", hint=f"known: {', '.join(BUDGET_STATISTICS)}"
            )

    @property
    def without_room(self) -> "Budget":
        """The same limits, as a certificate states them: how noisy the device is says nothing about the model."""
        return replace(self, relative_sd=0.0)

    def check(self, measurement: Measurement, *, has_room: bool = False) -> Verdict:
        """Judge a measurement.

        Args:
            measurement: Of the exported model on the device.
            has_room: Whether it must stay so far below the latency limit that another measurement will too.
        """
        excesses = []
        found_ms = self.latency_ms(measurement.latency_ms)
        allowed_ms = self.ms * (self.share if has_room else 1.0)
        if not found_ms <= allowed_ms:
            excesses.append(Excess("latency", found_ms, allowed_ms, self.statistic))
        peak_mb = measurement.peak_memory_mb
        if self.max_memory_mb is not None and (peak_mb is None or not peak_mb <= self.max_memory_mb):
            excesses.append(Excess("memory", peak_mb, self.max_memory_mb))
        return Verdict(tuple(excesses), measurement.provenance)

    def can_judge(self, stats: LatencyStats) -> bool:
        """Whether the statistic that is compared was measured at all."""
        return getattr(stats, self.statistic) is not None

    def latency_ms(self, stats: LatencyStats) -> float:
        """Read the statistic that is compared, in milliseconds.

        Raises:
            NuwaError: If the level under sustained load is compared and was not measured.
        """
        value: float | None = getattr(stats, self.statistic)
        if value is None:
            raise NuwaError(
                "the budget compares the level after ten minutes of load, and this measurement has none",
                hint="nuwa export DIR --device D --budget-ms N --budget-statistic sustained measures it",
            )
        return value

    def tail(self, stats: LatencyStats) -> float:
        """Tell how far the compared statistic lies above the median, as a factor."""
        return self.latency_ms(stats) / stats.median

    @property
    def share(self) -> float:
        """Share of the latency limit that is used where there must be room for noise."""
        return max(LEAST_SHARE, 1 - MARGIN_SDS * self.relative_sd)

    def median_limit_ms(self, tail: float) -> float:
        """Limit of a predicted median, with room for noise.

        Args:
            tail: The compared statistic over the median, as nets on this device have it.
        """
        return self.share * self.ms / tail
