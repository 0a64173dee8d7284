import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.memory import MemoryEstimate
from nuwa_search.search.feasible import BudgetTooSmallError, DeviceLimit, Limits, MemoryLimit, smallest_arch
from nuwa_search.search.repair import Attempt, Promises, Repaired, search_and_repair
from nuwa_search.search.run import run_study
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency, EmptyDeriver, MakeSpace, SyntheticScorer

SPEC = DeviceSpec("bench", "host", "onnxruntime", "1.0", "fp32")
BUDGET = Budget(2.8)


def measurement(ms: float, *, tail: float = 1.1, memory_mb: float | None = None) -> Measurement:
    stats = LatencyStats(median=ms, mean=ms, p50=ms, p90=ms, p95=tail * ms, p99=1.2 * ms, min=ms, max=ms, cv=0.0)
    return Measurement(SPEC, MeasureProtocol(), "measured", stats, 100, peak_memory_mb=memory_mb)


def saved_mb(base: Arch, arch: Arch) -> float:
    return (count_params(base) - count_params(arch)) * 4 / 2**20


class Correctable(CountingLatency):
    """Learns a factor from each measurement, and keeps what it was told."""

    def corrected(self, arch: Arch, measured_ms: float) -> Self:
        other = type(self)(self.factor * measured_ms / self.ms(arch))
        other.corrections = [*self.corrections, measured_ms]
        return other


@dataclasses.dataclass(frozen=True)
class Net:
    """A winner, or what was made of one."""

    arch: Arch
    measurement: Measurement | None = None

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        assert self.measurement is not None
        return (self.measurement,)


@pytest.fixture
def correctable() -> type[Correctable]:
    return Correctable


class OneStudy:
    """One study on disk that every round goes on with; returns its best trial."""

    def __init__(
        self, space: SearchSpace, *, deriver: type[EmptyDeriver], scorer: SyntheticScorer, storage_url: str
    ) -> None:
        self.space, self.scorer, self.storage_url = space, scorer, storage_url
        self.deriver = deriver
        self.calls: list[Promises[Correctable]] = []

    def __call__(self, promises: Promises[Correctable], *, budget: Budget = BUDGET) -> Net | None:
        self.calls.append(promises)
        memory = None
        if promises.memory is not None and budget.max_memory_mb is not None:
            memory = MemoryLimit(budget.max_memory_mb, promises.memory.predict_mb)
        best = run_study(
            self.space, deriver=self.deriver(), scorer=self.scorer,
            limits=Limits(promises.latency, budget.median_limit_ms(promises.tail), memory=memory),
            config=StudyConfig(trials=10 + 6 * len(self.calls)), place=StudyPlace(storage_url=self.storage_url),
        ).best  # fmt: skip
        return None if best is None else Net(best.arch)


@pytest.fixture
def search(
    make_space: MakeSpace, make_deriver: type[EmptyDeriver], make_scorer: type[SyntheticScorer], tmp_path: Path
) -> OneStudy:
    space = make_space(4)
    return OneStudy(
        space, deriver=make_deriver, scorer=make_scorer(space.base), storage_url=f"sqlite:///{tmp_path}/s.db"
    )


Repair = Callable[..., Repaired[Net, Net, Correctable]]


@pytest.fixture
def repair(correctable: type[Correctable]) -> Repair:
    """The loop with a device that a function plays; a winner is finished as it is unless said otherwise."""

    def run(
        search: Callable[[Promises[Correctable]], Net | None],
        device: Callable[[Net], Measurement],
        *,
        budget: Budget = BUDGET,
        finish: Callable[[Net, tuple[Promises[Correctable], ...]], Net] | None = None,
        promises: Promises[Correctable] | None = None,
        **more: Any,
    ) -> Repaired[Net, Net, Correctable]:
        return search_and_repair(
            lambda held: search(held[0]), measure=lambda net: (device(net),),
            finish=finish or (lambda net, _: Net(net.arch, device(net))),
            promises=[promises or Promises(correctable())], budgets=[budget], **more,
        )  # fmt: skip

    return run


def test_a_miss_corrects_the_predictor_and_the_search_goes_on(
    correctable: type[Correctable], search: OneStudy, repair: Repair
) -> None:
    def device(net: Net) -> Measurement:
        return measurement(1.2 * correctable().ms(net.arch))  # the device is slower than predicted

    found = repair(search, device)
    assert found.verdict.is_met
    assert [(a.stage, a.verdict.is_met) for a in found.attempts] == [
        ("found", False), ("found", True), ("finished", True)
    ]  # fmt: skip
    assert found.num_repairs == 1
    missed = found.attempts[0]
    assert missed.readings[0].measurement.latency_ms.median > 2.8 >= missed.readings[0].predicted_interval_ms[1]
    assert found.promises[0].latency.corrections == [missed.readings[0].measurement.latency_ms.median]
    assert len(search.scorer.scored) == len(set(search.scorer.scored))  # nothing was scored twice


def test_a_met_budget_needs_one_round(search: OneStudy, repair: Repair) -> None:
    seen: list[Attempt] = []
    found = repair(search, lambda net: measurement(2.0), on_attempt=seen.append)
    assert found.verdict.is_met
    assert found.reason == ""
    assert [a.stage for a in seen] == ["found", "finished"]
    assert found.promises[0].latency.corrections == []
    assert len(search.calls) == 1


def test_what_is_finished_is_judged_by_the_same_budget_in_the_same_loop(
    correctable: type[Correctable], search: OneStudy, repair: Repair
) -> None:
    def finish(net: Net, promises: tuple[Promises[Correctable], ...]) -> Net:
        slower = 1.2 if len(search.calls) == 1 else 1.0  # the first winner gets slower when it is finished
        return Net(net.arch, measurement(slower * correctable().ms(net.arch)))

    found = repair(search, lambda net: measurement(correctable().ms(net.arch)), finish=finish)
    assert [(a.stage, a.verdict.is_met) for a in found.attempts] == [
        ("found", True), ("finished", False), ("found", True), ("finished", True)
    ]  # fmt: skip
    assert len(found.promises[0].latency.corrections) == 1


def test_winners_that_are_finished_in_vain_end_the_loop_and_the_last_is_kept(
    make_space: MakeSpace, repair: Repair
) -> None:
    archs = iter(make_space(4).enumerate())
    found = repair(
        lambda _: Net(next(archs)), lambda net: measurement(2.0),
        finish=lambda net, _: Net(net.arch, measurement(3.0)), max_finishes=2,
    )  # fmt: skip
    assert not found.verdict.is_met
    assert found.finished is not None
    assert found.finished.arch == found.attempts[-1].arch
    assert sum(a.stage == "finished" for a in found.attempts) == 2
    assert found.reason.startswith("missed by 2 finished winners")
    assert "0.20 over the budget of 2.8 ms" in found.reason


def test_the_statistic_that_is_asked_for_counts(search: OneStudy, repair: Repair) -> None:
    found = repair(
        lambda p: search(p) if not search.calls else None, lambda net: measurement(2.7), budget=Budget(2.8, "p95")
    )
    assert not found.verdict.is_met
    assert found.attempts[0].verdict.excesses[0].found == pytest.approx(2.97)
    assert "nothing that fits" in found.reason
    assert "latency (p95) 2.97 ms" in found.reason


def test_a_tail_that_was_longer_than_promised_is_learned_although_the_median_was_right(
    correctable: type[Correctable], search: OneStudy, repair: Repair
) -> None:
    budget = Budget(2.8, "p95")

    def device(net: Net) -> Measurement:
        return measurement(correctable().ms(net.arch), tail=1.25)

    found = repair(
        lambda p: search(p, budget=budget), device, budget=budget, promises=Promises(correctable(), tail=1.05)
    )
    assert found.verdict.is_met
    assert found.attempts[0].verdict.exceeds("latency")
    assert [round(p.tail, 6) for p in search.calls] == [1.05, 1.25]
    assert found.promises[0].latency.factor == pytest.approx(1.0)  # the median was predicted right, and still is


def test_a_memory_miss_corrects_the_memory_estimate_and_not_the_latency_predictor(
    correctable: type[Correctable], search: OneStudy, repair: Repair
) -> None:
    base = search.space.base
    most_mb = saved_mb(base, smallest_arch(search.space))
    budget = Budget(9.0, max_memory_mb=50.0 - 0.4 * most_mb)
    more_mb = 0.2 * most_mb
    estimate = MemoryEstimate(base, base_peak_mb=50.0, precision="fp32")

    def device(net: Net) -> Measurement:  # every subnet takes more than the base's measurement promises
        return measurement(correctable().ms(net.arch), memory_mb=50.0 + more_mb - saved_mb(base, net.arch))

    found = repair(
        lambda p: search(p, budget=budget), device, budget=budget, promises=Promises(correctable(), memory=estimate)
    )
    assert found.verdict.is_met
    missed = found.attempts[0].verdict
    assert missed.exceeds("memory")
    assert not missed.exceeds("latency")
    assert "peak memory" in missed.reason
    assert "latency" not in missed.reason
    assert found.promises[0].latency.corrections == []
    assert found.promises[0].memory is not None
    assert found.promises[0].memory.shift_mb == pytest.approx(more_mb)
    assert count_params(found.winner.arch) < count_params(found.attempts[0].arch)


def test_a_miss_on_one_of_two_devices_corrects_that_device_only(
    make_space: MakeSpace,
    correctable: type[Correctable],
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
) -> None:
    """The second device is slower than its predictor says; the first is as it was promised."""
    space = make_space(4)
    budgets, names = (Budget(2.8), Budget(3.2)), ("a", "b")

    def device(arch: Arch) -> tuple[Measurement, ...]:
        true = (correctable().ms(arch), 1.6 * correctable().ms(arch))
        return tuple(
            dataclasses.replace(measurement(ms), device=dataclasses.replace(SPEC, name=name))
            for ms, name in zip(true, names, strict=True)
        )

    def search(held: tuple[Promises[Correctable], ...]) -> Net | None:
        first, second = (Limits(p.latency, b.median_limit_ms(p.tail)) for p, b in zip(held, budgets, strict=True))
        other = DeviceLimit("b", second.latency, budgets[1].ms)
        limits = Limits(first.latency, budgets[0].ms, device="a", others=(other,))
        best = run_study(
            space, deriver=make_deriver(), scorer=make_scorer(space.base), limits=limits, config=StudyConfig(trials=12)
        ).best
        return None if best is None else Net(best.arch)

    @dataclasses.dataclass(frozen=True)
    class Both:
        arch: Arch
        measurements: tuple[Measurement, ...]

    found = search_and_repair(
        search, measure=lambda net: device(net.arch), finish=lambda net, _: Both(net.arch, device(net.arch)),
        promises=[Promises(correctable()), Promises(correctable())], budgets=budgets,
    )  # fmt: skip
    assert found.verdict.is_met
    assert found.num_repairs == 1
    missed = found.attempts[0]
    assert [reading.verdict.is_met for reading in missed.readings] == [True, False]
    assert missed.verdict.reason.startswith("on b: latency (median)")
    assert found.promises[0].latency.corrections == []
    assert found.promises[1].latency.corrections == [missed.readings[1].measurement.latency_ms.median]
    assert all(reading.verdict.is_met for reading in found.attempts[-1].readings)


def test_it_gives_up_after_the_stated_rounds_and_names_the_limit(make_space: MakeSpace, repair: Repair) -> None:
    archs = iter(make_space(4).enumerate())
    stubborn = repair(lambda _: Net(next(archs)), lambda net: measurement(9.0), max_rounds=3)
    assert not stubborn.verdict.is_met
    assert stubborn.finished is None
    assert len(stubborn.attempts) == 3
    assert stubborn.num_repairs == 2
    assert "3 rounds" in stubborn.reason
    assert "latency (median) 9.00 ms, 6.20 over the budget of 2.8 ms" in stubborn.reason


def test_the_same_winner_again_is_not_measured_again(make_space: MakeSpace, repair: Repair) -> None:
    found = repair(lambda _: Net(make_space(4).base), lambda net: measurement(9.0))
    assert not found.verdict.is_met
    assert len(found.attempts) == 1
    assert "no other subnet" in found.reason
    assert found.promises[0].latency.corrections == []  # as it was when the winner was promised


def test_a_winner_whose_rival_missed_may_win_again(make_space: MakeSpace, repair: Repair) -> None:
    base, small = make_space(4).base, next(iter(make_space(4).enumerate()))
    finals = iter([Net(small, measurement(3.0)), Net(base, measurement(2.0))])
    found = repair(lambda _: Net(base), lambda net: measurement(2.0), finish=lambda net, _: next(finals))
    assert found.verdict.is_met
    assert found.finished is not None
    assert found.finished.arch == base


def test_a_correction_that_leaves_nothing_ends_with_what_was_measured(search: OneStudy, repair: Repair) -> None:
    found = repair(search, lambda net: measurement(100.0))
    assert not found.verdict.is_met
    assert found.too_small is not None
    assert found.reason.startswith("nothing fits by the corrected predictors; the last: latency (median) 100.00 ms")


def test_a_budget_below_everything_is_refused_before_anything_is_measured(
    correctable: type[Correctable], search: OneStudy, repair: Repair
) -> None:
    with pytest.raises(BudgetTooSmallError, match="fastest reachable"):
        repair(search, lambda net: measurement(1.0), promises=Promises(correctable(100.0)))


def test_a_study_that_scored_nothing_is_told(repair: Repair) -> None:
    with pytest.raises(NuwaError, match="before any subnet that fits was scored"):
        repair(lambda _: None, lambda net: measurement(1.0))


@pytest.mark.parametrize("least", [{"max_rounds": 0}, {"max_finishes": 0}])
def test_no_rounds_are_refused(repair: Repair, least: dict[str, int]) -> None:
    with pytest.raises(NuwaError, match="at least one round"):
        repair(lambda _: None, lambda net: measurement(1.0), **least)


def test_the_fake_predictor_is_corrected_to_what_was_measured(
    correctable: type[Correctable], make_space: MakeSpace
) -> None:
    arch = make_space(4).base
    assert np.isclose(correctable().corrected(arch, 7.0).predict([arch]).value[0], 7.0)
