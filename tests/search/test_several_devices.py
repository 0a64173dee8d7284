"""One subnet for several devices: held against brute force on spaces small enough to count."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.feasible import BudgetTooSmallError, DeviceLimit, Limits, nearest_arch
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.library import Library, LibraryRow, library_archs
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.seeds import fronts_of_limits, knapsack_seeds
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import DevicePrediction, StudyConfig, StudyResult
from tests.support.search_fakes import CountingLatency, EmptyDeriver, KlOf, MakeSpace, SyntheticScorer

BUDGETS_MS = (2.12, 2.32)
"""Of the attention-bound first device, and of the MLP-bound second."""


@pytest.fixture
def wide() -> CountingLatency:
    """A device on which MLPs take long, and attention next to nothing."""

    class Wide(CountingLatency):
        def ms(self, arch: Arch) -> float:
            return 1.0 + sum(0.05 * b.has_attn + 0.3 * b.has_mlp + 0.012 * b.mlp_width for b in arch.blocks)

    return Wide()


@pytest.fixture
def limits(latency: CountingLatency, wide: CountingLatency) -> Limits:
    return Limits(latency, BUDGETS_MS[0], device="a", others=(DeviceLimit("b", wide, BUDGETS_MS[1]),))


StudyOf = Callable[..., tuple[StudyResult, list[Arch]]]


@pytest.fixture
def study(make_deriver: type[EmptyDeriver], make_scorer: type[SyntheticScorer], kl_of: KlOf) -> StudyOf:
    def run(space: SearchSpace, limits: Limits, **more: Any) -> tuple[StudyResult, list[Arch]]:
        scorer = make_scorer(space.base)
        rows = [LibraryRow(a, SubnetScore(kl_of(a, space.base), 0.0, 0.0, 256)) for a in library_archs(space)]
        place, seeds = more.pop("place", None), more.pop("seeds", None)
        result = run_study(
            space, deriver=make_deriver(), scorer=scorer, limits=limits, config=StudyConfig(**more),
            guidance=Guidance(Library(space.base, tuple(rows)), seeds), place=place,
        )  # fmt: skip
        return result, scorer.scored

    return run


def keeps(arch: Arch, *latencies: CountingLatency) -> bool:
    return all(1.02 * latency.ms(arch) <= ms for latency, ms in zip(latencies, BUDGETS_MS, strict=True))


def test_both_budgets_bind(make_space: MakeSpace, latency: CountingLatency, wide: CountingLatency, kl_of: KlOf) -> None:
    """Otherwise the tests below would say nothing of several."""
    every = list(make_space().enumerate())

    def least(*which: tuple[CountingLatency, float]) -> float:
        inside = [a for a in every if all(1.02 * lat.ms(a) <= ms for lat, ms in which)]
        return min(kl_of(a, make_space().base) for a in inside)

    both = list(zip((latency, wide), BUDGETS_MS, strict=True))
    assert least(*both) > least(both[0])
    assert least(*both) > least(both[1])


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_winner_is_the_best_that_keeps_every_budget(
    study: StudyOf,
    make_space: MakeSpace,
    latency: CountingLatency,
    wide: CountingLatency,
    limits: Limits,
    kl_of: KlOf,
    sampler: str,
) -> None:
    space = make_space()
    result, scored = study(space, limits, trials=space.size, sampler=sampler, prune=False)
    assert result.stopped == "exhausted"
    by_force = {arch for arch in space.enumerate() if keeps(arch, latency, wide)}
    assert set(scored) == by_force  # everything that keeps both, and nothing else
    assert result.best is not None
    assert result.best.kl == min(kl_of(arch, space.base) for arch in by_force)
    assert {trial.arch for trial in result.fitting} == by_force


def test_no_proposal_that_misses_one_budget_is_scored(
    study: StudyOf, make_space: MakeSpace, latency: CountingLatency, wide: CountingLatency, limits: Limits
) -> None:
    result, scored = study(make_space(), limits, trials=8, sampler="random", guided=False, repair=False, seeds=())
    assert scored
    assert all(keeps(arch, latency, wide) for arch in scored)
    refused = [trial for trial in result.trials if trial.state == "infeasible"]
    reasons = {reason.split()[0] for trial in refused for reason in trial.reason.split(", ")}
    assert {"latency_ms", "latency_ms@b"} <= reasons


def test_optuna_sees_a_constraint_per_device_and_a_resumed_study_the_same_trials(
    study: StudyOf,
    make_space: MakeSpace,
    latency: CountingLatency,
    wide: CountingLatency,
    limits: Limits,
    tmp_path: Path,
) -> None:
    import optuna

    url = f"sqlite:///{tmp_path}/study.db"
    whole, _ = study(make_space(4), limits, trials=6, guided=False)
    study(make_space(4), limits, trials=3, guided=False, place=StudyPlace("s", url))
    rest, _ = study(make_space(4), limits, trials=6, guided=False, place=StudyPlace("s", url))
    assert [t.arch for t in rest.trials] == [t.arch for t in whole.trials]
    for mine, stored in zip(rest.trials, optuna.load_study(study_name="s", storage=url).trials, strict=True):
        first, second = latency.ms(mine.arch), wide.ms(mine.arch)
        assert stored.constraints["latency_ms"] == pytest.approx(1.02 * first - BUDGETS_MS[0])
        assert stored.constraints["latency_ms@b"] == pytest.approx(1.02 * second - BUDGETS_MS[1])
        assert mine.elsewhere == (DevicePrediction("b", second, (0.98 * second, 1.02 * second)),)


def test_exact_seeds_keep_every_budget_and_one_is_the_best_of_the_additive_model(
    make_space: MakeSpace, latency: CountingLatency, wide: CountingLatency, limits: Limits, kl_of: KlOf
) -> None:
    """Both latencies are sums over branches here, so that the knapsacks' model is exact."""
    from nuwa_search.predictors.accuracy import prior_from_library

    space = make_space(4)
    archs = library_archs(space)
    prior = prior_from_library(space.base, archs, [kl_of(a, space.base) for a in archs])
    fronts = fronts_of_limits(space, prior=prior, limits=limits)
    assert len(fronts) == 3 * 2  # each device and both mixed, at two powers of the cost
    seeds = knapsack_seeds(fronts, prior=prior, budget=limits, num_seeds=8)
    assert seeds
    assert all(keeps(seed.arch, latency, wide) and space.contains(seed.arch) for seed in seeds)
    fitting = [arch for arch in space.enumerate() if keeps(arch, latency, wide)]
    least = min(prior.additive(arch) for arch in fitting)
    assert min(seed.additive_kl for seed in seeds if seed.additive_kl is not None) <= 1.5 * least


def test_upper_ms_says_how_near_the_nearest_limit_is(
    make_space: MakeSpace, latency: CountingLatency, wide: CountingLatency, limits: Limits
) -> None:
    archs = list(make_space().enumerate())
    first, second = (np.array([1.02 * device.ms(a) for a in archs]) for device in (latency, wide))
    scaled = np.maximum(first, second * BUDGETS_MS[0] / BUDGETS_MS[1])
    assert limits.upper_ms(archs) == pytest.approx(scaled)
    assert list(limits.fits(archs)) == [keeps(a, latency, wide) for a in archs]
    assert limits.upper_ms([nearest_arch(make_space(), limits)])[0] == pytest.approx(scaled.min())


def test_an_unreachable_device_is_named_with_its_fastest(
    study: StudyOf, make_space: MakeSpace, latency: CountingLatency, wide: CountingLatency
) -> None:
    every = list(make_space().enumerate())
    fastest = {name: min(device.ms(a) for a in every) for name, device in (("a", latency), ("b", wide))}
    for short, budgets in (("b", (9.0, 0.9)), ("a", (0.9, 9.0))):
        limits = Limits(latency, budgets[0], device="a", others=(DeviceLimit("b", wide, budgets[1]),))
        with pytest.raises(BudgetTooSmallError, match=rf"no subnet fits 0\.9 ms on {short}: the fastest") as raised:
            study(make_space(), limits, trials=3)
        assert raised.value.predicted_latency_ms == pytest.approx(fastest[short])
        assert [(r.device, r.is_enough) for r in raised.value.by_device] == [("a", short != "a"), ("b", short != "b")]
        assert [r.predicted_latency_ms for r in raised.value.by_device] == pytest.approx([*fastest.values()])
        assert raised.value.exit_code == 1


def test_budgets_that_can_only_be_met_one_by_one_are_told(
    study: StudyOf, make_space: MakeSpace, latency: CountingLatency
) -> None:
    class Contrary(CountingLatency):
        """A device on which what is cut takes longer."""

        def ms(self, arch: Arch) -> float:
            return 6.0 - latency.ms(arch)

    contrary = Contrary()
    fastest, slowest = (pick(make_space().enumerate(), key=latency.ms) for pick in (min, max))
    limits = Limits(
        latency,
        1.05 * latency.ms(fastest),
        device="a",
        others=(DeviceLimit("b", contrary, 1.05 * contrary.ms(slowest)),),
    )
    assert not limits.fits(list(make_space().enumerate())).any()
    with pytest.raises(
        BudgetTooSmallError, match="each can be met alone, but no subnet was found that meets"
    ) as raised:
        study(make_space(), limits, trials=3)
    assert "--budget-ms" in raised.value.hint
    assert len(raised.value.by_device) == 2


def test_several_devices_need_a_budget_each(latency: CountingLatency, wide: CountingLatency) -> None:
    with pytest.raises(NuwaError, match="limits of several devices"):
        Limits(latency, None, others=(DeviceLimit("b", wide, 3.0),))


def test_the_front_keeps_the_other_budgets(
    study: StudyOf, make_space: MakeSpace, wide: CountingLatency, limits: Limits
) -> None:
    result, _ = study(make_space(4), limits, trials=20, pareto=True)
    assert len(result.front) >= 2
    assert all(1.02 * wide.ms(trial.arch) <= BUDGETS_MS[1] for trial in result.front)
    for faster, slower in itertools.pairwise(result.front):
        assert faster.predicted_latency_ms < slower.predicted_latency_ms
