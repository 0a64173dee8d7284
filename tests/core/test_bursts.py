import itertools
from collections.abc import Callable

import numpy as np
import pytest

from nuwa_search.core.device import MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.bursts import (
    NUM_BURSTS,
    Burst,
    TimedRun,
    outliers,
    time_inferences,
    timed_run,
    warm_up,
)
from nuwa_search.core.measuring.stats import spread_warnings, stats_from_samples


class Clock:
    """A clock that only the work under test moves; the machine's speed follows a script."""

    def __init__(self, slowness: Callable[[float], float]) -> None:
        self.now = 0.0
        self.slowness = slowness

    def __call__(self) -> float:
        return self.now

    def work(self, ms: float) -> Callable[[], None]:
        def run() -> None:
            self.now += ms * 1e-3 * self.slowness(self.now)

        return run


QUICK = MeasureProtocol(warmup_ms=0, min_duration_ms=300, min_repetitions=30)


def test_a_steady_machine_gives_the_time_itself() -> None:
    clock = Clock(lambda now: 1.0)
    timed = timed_run(clock.work(2.0), clock.work(0.5), protocol=QUICK, clock=clock)
    stats = stats_from_samples(timed.samples_ms(nominal_ms=0.5))
    assert stats.median == pytest.approx(2.0)
    assert timed.num_outliers == 0
    assert sum(len(b.samples_ms) for b in timed.bursts) >= 150  # 300 ms of 2 ms


def test_drift_is_divided_out() -> None:
    clock = Clock(lambda now: 1.0 + now)  # ever slower
    timed = timed_run(clock.work(2.0), clock.work(0.5), protocol=QUICK, clock=clock)
    assert timed.raw_median_ms > 2.3
    assert stats_from_samples(timed.samples_ms(nominal_ms=0.5)).median == pytest.approx(2.0, rel=0.02)


def test_a_disturbed_burst_is_repeated_and_counted() -> None:
    calls = itertools.count()
    clock = Clock(lambda now: 1.0)

    def run() -> None:
        clock.now += 2e-3 * (1.5 if 100 <= next(calls) < 120 else 1.0)

    timed = timed_run(run, clock.work(0.5), protocol=QUICK, clock=clock)
    assert timed.num_outliers >= 1
    assert len(timed.bursts) == NUM_BURSTS
    assert stats_from_samples(timed.samples_ms(nominal_ms=0.5)).median == pytest.approx(2.0, rel=0.01)


def test_a_machine_that_never_settles_ends_all_the_same() -> None:
    rng = np.random.default_rng(0)
    clock = Clock(lambda now: float(rng.choice([1.0, 3.0])))
    timed = timed_run(clock.work(2.0), clock.work(0.5), protocol=QUICK, clock=clock)
    stats = stats_from_samples(timed.samples_ms(nominal_ms=0.5))
    assert spread_warnings(stats)


def test_outliers_are_those_far_from_the_median() -> None:
    assert outliers(np.array([1.0, 1.001, 0.999, 1.3, 1.0])).tolist() == [False, False, False, True, False]
    assert not outliers(np.array([1.0, 1.01, 0.99])).any()


def test_warm_up_runs_at_least_twice_and_time_inferences_counts() -> None:
    clock = Clock(lambda now: 1.0)
    assert warm_up(clock.work(3.0), warmup_ms=0, clock=clock) == pytest.approx(3.0)
    assert time_inferences(clock.work(3.0), count=4, clock=clock) == pytest.approx([3.0] * 4)


def test_ratio_of_a_burst() -> None:
    burst = Burst(np.array([2.0, 4.0, 3.0]), 1.5)
    assert burst.ratio == 2.0
    assert TimedRun((burst,), 0).samples_ms(nominal_ms=3.0).tolist() == pytest.approx([4.0, 8.0, 6.0])


def test_statistics_by_definition() -> None:
    samples = np.arange(1.0, 102.0)
    stats = stats_from_samples(samples)
    assert (stats.median, stats.min, stats.max, stats.mean) == (51.0, 1.0, 101.0, 51.0)
    assert (stats.p90, stats.p95, stats.p99) == (91.0, 96.0, 100.0)
    assert stats.cv == pytest.approx(samples.std() / 51.0)


def test_statistics_by_hand() -> None:
    stats = stats_from_samples(np.array([4.0, 1.0, 3.0, 2.0]))
    assert (stats.median, stats.mean, stats.min, stats.max) == (2.5, 2.5, 1.0, 4.0)
    assert stats.p90 == pytest.approx(3.7)
    assert stats.cv == pytest.approx(np.sqrt(1.25) / 2.5)


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [float("nan")]])
def test_impossible_samples_are_refused(samples: list[float]) -> None:
    with pytest.raises(NuwaError):
        stats_from_samples(np.array(samples))


def test_a_clock_that_stands_still_divides_by_nothing() -> None:
    """A thread's clock does, over a model of a few microseconds."""
    protocol = MeasureProtocol(warmup_ms=0, min_duration_ms=0.01, min_repetitions=3)
    timed = timed_run(lambda: None, lambda: None, protocol=protocol, clock=lambda: 1.0)
    assert np.isfinite(timed.samples_ms(nominal_ms=1.0)).all()
