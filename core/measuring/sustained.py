"""Latency over minutes: what heat and power limits do to a device that is kept busy."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nuwa_search.core.device import Device, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError

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
    """

    bins: tuple[SustainedBin, ...]
    slowdown: float

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
    showed them.

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
    begin = clock()
    found: dict[int, list[Measurement]] = {}
    while (at := clock() - begin) < seconds:
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
