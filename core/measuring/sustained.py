"""Latency over minutes: what heat and power limits do to a device that is kept busy."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from nuwa_search.core.budget_statistic import SUSTAINED_S, BudgetStatistic
from nuwa_search.core.counting import count
from nuwa_search.core.device import Device, DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import CompiledModel, RunsModels

if TYPE_CHECKING:
    import onnx

# A later bin this much slower than the first is throttling and not noise (twice the largest spread
# that passes without a warning).
_THROTTLED = 0.05


@dataclass(frozen=True)
class SustainedBin:
    """Some seconds of a sustained run.

    Args:
        begin_s: Since the start.
        median_ms: Median latency in it.
        p95_ms: 95th percentile in it.
    """

    begin_s: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class SustainedRun:
    """A device kept busy for a while.

    Args:
        bins: In order.
        slowdown: Median of the last bin over that of the first, minus 1.
        state: Clocks and temperatures under load and how long the device took to cool down, as it tells them.
    """

    bins: tuple[SustainedBin, ...]
    slowdown: float
    state: Mapping[str, str] = field(default_factory=dict)

    @property
    def level_ms(self) -> float:
        """Median at the end, in milliseconds: what the device keeps up."""
        return self.bins[-1].median_ms

    @property
    def is_throttled(self) -> bool:
        """Whether the device became slower than noise explains."""
        return self.slowdown > _THROTTLED


def sustained_run(bins: Sequence[SustainedBin]) -> SustainedRun:
    """Compare the end of a run with its beginning.

    Raises:
        NuwaError: If there are fewer than two bins.
    """
    if len(bins) < 2:
        raise NuwaError("a sustained run needs at least two bins of time", hint="measure for longer: --sustained 10m")
    return SustainedRun(tuple(bins), bins[-1].median_ms / bins[0].median_ms - 1)


@runtime_checkable
class SustainsLoad(Protocol):
    """A device that stays busy by itself for minutes, and tells its clocks and temperatures meanwhile."""

    def sustained(
        self, model: "onnx.ModelProto", *, seconds: float, protocol: MeasureProtocol | None = None
    ) -> SustainedRun:
        """Run ``model`` without a pause for so long.

        Raises:
            NuwaError: If the device cannot take the model.
            OutsideError: If the device failed.
        """
        ...


def sustain(
    device: Device,
    model: "onnx.ModelProto",
    *,
    seconds: float,
    protocol: MeasureProtocol | None = None,
    num_bins: int = 20,
    clock: Callable[[], float] = time.monotonic,
) -> SustainedRun:
    """Measure ``model`` over and over for ``seconds`` and sum up by time.

    Drift, which other measurements divide out, is what this one is after: figures are as the clock
    showed them. A board stays busy in one run of its own instead (``SustainsLoad``).

    Args:
        device: What is kept busy.
        model: What it runs.
        seconds: How long to go on.
        protocol: Duration of each single measurement.
        num_bins: Bins to sum up in; those in which no measurement began are left out.
        clock: Seconds.

    Raises:
        NuwaError: If fewer than two bins were filled, or the device cannot take the model.
        OutsideError: If the device failed.
    """
    if isinstance(device, SustainsLoad):
        return device.sustained(model, seconds=seconds, protocol=protocol)
    begin = clock()
    found: dict[int, list[Measurement]] = {}
    while (at := clock() - begin) < seconds:
        count("seconds kept busy", int(at), int(seconds))
        found.setdefault(int(at / seconds * num_bins), []).append(device.measure(model, protocol=protocol))
    bins = []
    for index, inside in sorted(found.items()):
        medians = np.array([raw_median_ms(m) for m in inside])
        tails = np.array([raw_median_ms(m) * m.latency_ms.p95 / m.latency_ms.median for m in inside])
        bins.append(SustainedBin(index * seconds / num_bins, float(np.median(medians)), float(np.median(tails))))
    return sustained_run(bins)


def raw_median_ms(measurement: Measurement) -> float:
    """Return the median as the clock showed it, before any drift was divided out."""
    return float(measurement.state.get("raw_median_ms", measurement.latency_ms.median))


class SustainedDevice:
    """A device whose every measurement also says what it keeps up under load: each takes ten minutes longer.

    Args:
        device: What is measured on.
        seconds: Of load.
        clock: Seconds.
    """

    def __init__(
        self, device: Device, *, seconds: float = SUSTAINED_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device = device
        self._seconds = seconds
        self._clock = clock

    @property
    def spec(self) -> DeviceSpec:
        return self._device.spec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Measure ``model`` cool, then under load; see ``nuwa_search.core.device.Device``."""
        cool = self._device.measure(model, protocol=protocol)
        run = sustain(self._device, model, seconds=self._seconds, protocol=protocol, clock=self._clock)
        warnings = cool.warnings
        if run.is_throttled:
            warnings += (f"throttled: {100 * run.slowdown:+.1f} % after {self._seconds / 60:g} minutes of load",)
        state = {"sustained_s": f"{self._seconds:g}", "sustained_slowdown": f"{run.slowdown:.4f}", **run.state}
        return replace(
            cool,
            latency_ms=replace(cool.latency_ms, sustained=run.level_ms),
            state={**cool.state, **state},
            warnings=warnings,
        )

    def compiled(self, model: "onnx.ModelProto") -> CompiledModel:
        """Compile ``model`` as for measuring; see ``nuwa_search.core.runtime.RunsModels``.

        Raises:
            NuwaError: If the device gives no outputs.
        """
        if not isinstance(self._device, RunsModels):
            raise NuwaError(f"device {self.spec.name} times models and gives no outputs")
        return self._device.compiled(model)


def judged_by(device: Device, statistic: BudgetStatistic | None) -> Device:
    """Return the device as a budget's statistic needs it: one for sustained load measures that too."""
    return SustainedDevice(device) if statistic == "sustained" else device
