import dataclasses

import numpy as np
import pytest

from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.repair import verify_and_repair
from nuwa_search.search.run import run_study
from nuwa_search.search.trials import StudyConfig

SPEC = DeviceSpec("bench", "host", "onnxruntime", "1.0", "fp32")


def measurement(ms):
    stats = LatencyStats(median=ms, mean=ms, p50=ms, p90=ms, p95=1.1 * ms, p99=1.2 * ms, min=ms, max=ms, cv=0.0)
    return Measurement(SPEC, MeasureProtocol(), "measured", stats, 100)


@pytest.fixture
def correctable(make_latency):
    class Correctable(make_latency):
        def corrected(self, arch, measured_ms):
            other = Correctable(self.factor * measured_ms / self.ms(arch))
            other.corrections = [*self.corrections, measured_ms]
            return other

    return Correctable


@pytest.fixture
def search(make_space, make_deriver, make_scorer, tmp_path):
    """One study on disk that every round goes on with; returns its best trial."""
    space, scorer, calls = make_space(4), make_scorer(make_space(4).base), []

    def run(latency):
        calls.append(latency)
        return run_study(
            space, deriver=make_deriver(), scorer=scorer, latency=latency, budget_ms=2.8,
            config=StudyConfig(trials=10 + 6 * len(calls)), storage_url=f"sqlite:///{tmp_path}/s.db",
        ).best  # fmt: skip

    run.scorer = scorer
    return run


def test_a_miss_corrects_the_predictor_and_the_search_goes_on(correctable, search):
    def device(trial):
        return measurement(1.2 * correctable().ms(trial.arch))  # the device is slower than predicted

    found = verify_and_repair(
        search(correctable()), arch_of=lambda t: t.arch, measure=device, search_on=search,
        latency=correctable(), budget_ms=2.8,
    )  # fmt: skip
    assert found.is_met
    assert [r.is_met for r in found.rounds] == [False, True]
    assert found.rounds[0].measured_ms > 2.8 >= found.rounds[0].predicted_interval_ms[1]
    assert found.latency.corrections == [found.rounds[0].measured_ms]
    assert len(search.scorer.scored) == len(set(search.scorer.scored))  # nothing was scored twice


def test_a_met_budget_needs_one_round(correctable, search):
    found = verify_and_repair(
        search(correctable()), arch_of=lambda t: t.arch, measure=lambda t: measurement(2.0), search_on=search,
        latency=correctable(), budget_ms=2.8,
    )  # fmt: skip
    assert found.is_met
    assert len(found.rounds) == 1
    assert found.latency.corrections == []


def test_the_statistic_that_is_asked_for_counts(correctable, search):
    found = verify_and_repair(
        search(correctable()), arch_of=lambda t: t.arch, measure=lambda t: measurement(2.7), search_on=lambda _: None,
        latency=correctable(), budget_ms=2.8, statistic="p95",
    )  # fmt: skip
    assert not found.is_met
    assert found.rounds[0].measured_ms == pytest.approx(2.97)
    assert "nothing fits" in found.reason


def test_it_gives_up_after_the_stated_rounds(correctable, make_space):
    archs = iter(make_space(4).enumerate())
    stubborn = verify_and_repair(
        next(archs), arch_of=lambda a: a, measure=lambda a: measurement(9.0), search_on=lambda _: next(archs),
        latency=correctable(), budget_ms=2.8, max_rounds=3,
    )  # fmt: skip
    assert not stubborn.is_met
    assert len(stubborn.rounds) == 3
    assert "3 rounds" in stubborn.reason


def test_the_same_winner_again_is_not_measured_again(correctable, search):
    best = search(correctable())
    found = verify_and_repair(
        best, arch_of=lambda t: t.arch, measure=lambda t: measurement(9.0),
        search_on=lambda _: dataclasses.replace(best, number=99), latency=correctable(), budget_ms=2.8,
    )  # fmt: skip
    assert not found.is_met
    assert len(found.rounds) == 1


def test_no_rounds_are_refused(correctable):
    with pytest.raises(NuwaError, match="at least one round"):
        verify_and_repair(
            None, arch_of=lambda a: a, measure=lambda a: measurement(1.0), search_on=lambda _: None,
            latency=correctable(), budget_ms=1.0, max_rounds=0,
        )  # fmt: skip


def test_the_fake_predictor_is_corrected_to_what_was_measured(correctable, make_space):
    arch = make_space(4).base
    assert np.isclose(correctable().corrected(arch, 7.0).predict([arch]).value[0], 7.0)
