"""Time a program that runs beside others: short bursts between bursts of a reference model.

On a shared machine the speed wanders by tens of per cent within seconds. A reference that runs
just before and just after each burst wanders with it, so the ratio of the two stays; bursts in
which it does not (another process woke up, clocks dropped) are recognised and repeated.
"""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.device import MeasureProtocol

Array = npt.NDArray[np.float64]
Run = Callable[[], object]
Clock = Callable[[], float]

# Bursts per measurement: an odd number gives a middle one, and a second of measuring has room for as
# many model and reference bursts of tens of milliseconds.
NUM_BURSTS = 9
# A burst whose ratio is further from the median of all than this many times their typical distance
# (median absolute deviation) is an outlier; never one that is closer than the relative floor.
_OUTLIER_MADS = 5.0
_OUTLIER_FLOOR = 0.02
# At most this share of the bursts is repeated: a machine that is busy all the time is not measured
# for ever but warned of.
_MAX_REPEATS = 1.0
# Share of a measurement's time that the reference may take.
_REFERENCE_SHARE = 0.35

# A thread's clock may stand still over a call of a few microseconds; none through Python takes less than this, and
# nothing that is divided by a time may be 0.
_LEAST_MS = 1e-3


@dataclass(frozen=True)
class Burst:
    """Inferences of a model with the reference around them.

    Args:
        samples_ms: Each inference of the model, (n,).
        reference_ms: Median of the reference's inferences just before and after.
    """

    samples_ms: Array
    reference_ms: float

    @property
    def ratio(self) -> float:
        """Median of the model over the reference."""
        return float(np.median(self.samples_ms)) / self.reference_ms


@dataclass(frozen=True)
class TimedRun:
    """Everything that one measurement saw.

    Args:
        bursts: Those that count.
        num_outliers: Bursts that were thrown away and repeated.
    """

    bursts: tuple[Burst, ...]
    num_outliers: int

    @property
    def reference_ms(self) -> float:
        """Median of the reference over the bursts."""
        return float(np.median([b.reference_ms for b in self.bursts]))

    @property
    def raw_median_ms(self) -> float:
        """Median inference as the clock showed it."""
        return float(np.median(np.concatenate([b.samples_ms for b in self.bursts])))

    def samples_ms(self, *, nominal_ms: float) -> Array:
        """Return all inferences as they would have been at the reference's nominal speed.

        The median over all is made to be the mean of the bursts' ratios: outliers are gone already, and
        on a machine whose bursts wander the mean repeated to 2.0 %, the median of ratios to 2.9 %.
        """
        ratio = float(np.mean([b.ratio for b in self.bursts]))
        relative = np.concatenate([b.samples_ms / float(np.median(b.samples_ms)) for b in self.bursts])
        return np.asarray(relative / np.median(relative) * ratio * nominal_ms, dtype=np.float64)


def time_inferences(run: Run, *, count: int, clock: Clock = time.perf_counter) -> Array:
    """Time ``count`` calls in milliseconds, (count,)."""
    out = np.empty(count)
    for index in range(count):
        begin = clock()
        run()
        out[index] = clock() - begin
    return np.maximum(out * 1e3, _LEAST_MS)


def warm_up(run: Run, *, warmup_ms: float, clock: Clock = time.perf_counter) -> float:
    """Call ``run`` for at least ``warmup_ms`` and at least twice; return the fastest call in milliseconds."""
    fastest = math.inf
    end = time.perf_counter() + warmup_ms / 1e3
    calls = 0
    while calls < 2 or time.perf_counter() < end:
        fastest = min(fastest, float(time_inferences(run, count=1, clock=clock)[0]))
        calls += 1
    return fastest


def timed_run(run: Run, reference: Run, *, protocol: MeasureProtocol, clock: Clock = time.perf_counter) -> TimedRun:
    """Measure ``run`` in bursts between bursts of ``reference``; outlying bursts are repeated.

    Args:
        run: One inference of the model.
        reference: One inference of the reference model, warm already.
        protocol: Warm-up, duration and repetitions; the reference comes on top.
        clock: Seconds. ``time.thread_time`` leaves out what other programs were given meanwhile, and is
            right where all work is done by the calling thread.
    """
    estimate = warm_up(run, warmup_ms=protocol.warmup_ms, clock=clock)
    wanted = max(protocol.min_repetitions, math.ceil(protocol.min_duration_ms / estimate))
    count = max(1, math.ceil(wanted / NUM_BURSTS))
    reference_ms = warm_up(reference, warmup_ms=0, clock=clock)
    reference_count = max(2, math.ceil(_REFERENCE_SHARE * count * estimate / reference_ms / 2))
    was_collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a burst is no property of the model
    try:
        kept, num_outliers = _bursts(run, reference, count=count, reference_count=reference_count, clock=clock)
    finally:
        if was_collecting:
            gc.enable()
    return TimedRun(tuple(kept), num_outliers)


def _bursts(run: Run, reference: Run, *, count: int, reference_count: int, clock: Clock) -> tuple[list[Burst], int]:
    kept: list[Burst] = []
    num_outliers = 0
    before = time_inferences(reference, count=reference_count, clock=clock)
    while True:
        while len(kept) < NUM_BURSTS:
            samples = time_inferences(run, count=count, clock=clock)
            after = time_inferences(reference, count=reference_count, clock=clock)
            kept.append(Burst(samples, float(np.median(np.concatenate([before, after])))))
            before = after
        if num_outliers >= _MAX_REPEATS * NUM_BURSTS:
            return kept, num_outliers
        good = [b for b, bad in zip(kept, outliers(np.array([b.ratio for b in kept])), strict=True) if not bad]
        if len(good) == len(kept):
            return kept, num_outliers
        num_outliers += len(kept) - len(good)
        kept = good


def outliers(ratios: Array) -> npt.NDArray[np.bool_]:
    """Return which ratios lie too far from their median, (n,)."""
    middle = np.median(ratios)
    distance = np.abs(ratios - middle)
    typical = float(np.median(distance))
    return np.asarray(distance > np.maximum(_OUTLIER_MADS * typical, _OUTLIER_FLOOR * middle), dtype=np.bool_)
