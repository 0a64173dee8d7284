"""The budget judges measurements: which limit, by how much, in words."""

import dataclasses
import math
from typing import Any

import pytest

from nuwa_search.core.budget import Budget, require_statistic
from nuwa_search.core.budget_statistic import BudgetStatistic
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol, Provenance
from nuwa_search.core.errors import NuwaError

SPEC = DeviceSpec("bench", "host", "onnxruntime", "1.0", "fp32")
STATS = LatencyStats(median=10, mean=10, p50=10, p90=10.5, p95=11, p99=12, min=9, max=13, cv=0.01)


def measured(*, memory_mb: float | None = None, kind: str = "measured") -> Measurement:
    return Measurement(SPEC, MeasureProtocol(), kind, STATS, 100, peak_memory_mb=memory_mb)  # type: ignore[arg-type]


@pytest.mark.parametrize(("statistic", "found"), [("median", 10), ("p95", 11), ("p99", 12)])
def test_the_named_statistic_is_compared_and_equal_is_kept(statistic: BudgetStatistic, found: float) -> None:
    assert Budget(found, statistic).check(measured()).is_met
    missed = Budget(found - 0.5, statistic).check(measured())
    assert not missed.is_met
    assert [(e.limit, e.found, e.over) for e in missed.excesses] == [("latency", found, 0.5)]
    assert missed.reason == f"latency ({statistic}) {found:.2f} ms, 0.50 over the budget of {found - 0.5:g} ms"
    assert missed.exceeds("latency")
    assert not missed.exceeds("memory")


def test_a_memory_miss_is_told_as_one() -> None:
    budget = Budget(10, max_memory_mb=20)
    assert budget.check(measured(memory_mb=20)).is_met
    missed = budget.check(measured(memory_mb=23.25))
    assert missed.reason == "peak memory 23.2 MB, 3.25 over the limit of 20 MB"
    assert missed.exceeds("memory")
    assert not missed.exceeds("latency")


def test_memory_that_the_device_does_not_tell_is_no_proof() -> None:
    missed = Budget(10, max_memory_mb=20).check(measured())
    assert missed.exceeds("memory")
    assert missed.excesses[0].over is None
    assert "not told by the device" in missed.reason
    assert Budget(10).check(measured()).is_met


def test_both_limits_are_named() -> None:
    missed = Budget(9, max_memory_mb=20).check(measured(memory_mb=21))
    assert missed.reason.count(";") == 1
    assert missed.exceeds("latency")
    assert missed.exceeds("memory")


@pytest.mark.parametrize(("kind", "word"), [("measured", "met"), ("emulated", "met (emulated)")])
def test_a_verdict_on_an_emulated_figure_says_so(kind: Provenance, word: str) -> None:
    assert Budget(10).check(measured(kind=kind)).word == word
    assert Budget(9).check(measured(kind=kind)).word == word.replace("met", "missed")


def test_room_for_noise_is_two_standard_deviations_of_a_measurement() -> None:
    budget = Budget(10.2, relative_sd=0.01)
    assert budget.share == pytest.approx(0.98)
    assert budget.check(measured()).is_met
    assert not budget.check(measured(), has_room=True).is_met  # 10 > 9.996
    assert Budget(10.3, relative_sd=0.01).check(measured(), has_room=True).is_met
    assert Budget(10, relative_sd=0.9).share == 0.5
    assert budget.without_room == dataclasses.replace(budget, relative_sd=0)


def test_the_limit_on_a_predicted_median_leaves_room_and_the_tail() -> None:
    budget = Budget(11, "p95", relative_sd=0.02)
    assert budget.tail(STATS) == pytest.approx(1.1)
    assert budget.median_limit_ms(budget.tail(STATS)) == pytest.approx(0.96 * 10)


def test_the_level_under_load_is_judged_where_it_was_measured() -> None:
    budget = Budget(11, "sustained")
    assert not budget.can_judge(STATS)
    with pytest.raises(NuwaError, match="this measurement has none"):
        budget.check(measured())
    warm = dataclasses.replace(STATS, sustained=12.5)
    assert budget.can_judge(warm)
    assert budget.tail(warm) == pytest.approx(1.25)  # a search leaves so much room above the median
    assert not budget.check(dataclasses.replace(measured(), latency_ms=warm)).is_met
    assert Budget(11).check(dataclasses.replace(measured(), latency_ms=warm)).is_met


def test_an_emulated_board_does_not_grow_warm() -> None:
    emulated = dataclasses.replace(SPEC, kind="emulated", name="jetson-nano")
    require_statistic("p99", emulated)
    require_statistic("sustained", SPEC)
    with pytest.raises(NuwaError, match="jetson-nano, which is emulated"):
        require_statistic("sustained", emulated)


def test_a_latency_that_is_no_number_is_no_proof() -> None:
    broken = dataclasses.replace(measured(), latency_ms=dataclasses.replace(STATS, median=math.nan))
    assert Budget(10).check(broken).exceeds("latency")


@pytest.mark.parametrize(
    "wanted",
    [{"ms": 0}, {"ms": math.nan}, {"ms": math.inf}, {"ms": 1, "max_memory_mb": 0}, {"ms": 1, "statistic": "p50"}],
)
def test_impossible_limits_are_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(NuwaError):
        Budget(**wanted)
