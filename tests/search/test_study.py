import dataclasses
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.predictors.contract import Predictor
from nuwa_search.search.feasible import BudgetTooSmallError, Limits, MemoryLimit, fastest_arch, smallest_arch
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.library import Library, LibraryRow, library_archs
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.seeds import Seed
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study import StudyLog, stored_trials
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import StudyConfig, StudyHooks, StudyResult, TrialReport
from tests.support.search_fakes import (
    CountingLatency,
    EmptyDeriver,
    KlOf,
    MakeSpace,
    SyntheticScorer,
    best_of,
    scored_kl,
)


def library_of(space: SearchSpace, kl_of: KlOf) -> Library:
    rows = [LibraryRow(a, SubnetScore(kl_of(a, space.base), 0.0, 0.0, 256)) for a in library_archs(space)]
    return Library(space.base, tuple(rows))


StudyOf = Callable[..., tuple[StudyResult, list[Arch]]]


@pytest.fixture
def study(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
    kl_of: KlOf,
) -> StudyOf:
    """Run a study on fakes; returns (result, archs that were paid for)."""

    def run(
        space: SearchSpace | None = None,
        budget_ms: float | None = 2.4,
        with_library: bool = True,
        latency: Predictor = latency,
        memory: MemoryLimit | None = None,
        seeds: Sequence[Seed] | None = None,
        **kwargs: Any,
    ) -> tuple[StudyResult, list[Arch]]:
        space = space or make_space()
        config = kwargs.pop("config", None) or StudyConfig(**{k: kwargs.pop(k) for k in list(kwargs) if k in FIELDS})
        scorer = make_scorer(space.base)
        library = library_of(space, kl_of) if with_library else None
        hooks = StudyHooks(**{k: kwargs.pop(k) for k in ("on_trial", "should_stop") if k in kwargs})
        result = run_study(
            space, deriver=make_deriver(), scorer=scorer, limits=Limits(latency, budget_ms, memory=memory),
            config=config, guidance=Guidance(library, seeds), place=StudyPlace(**kwargs), hooks=hooks,
        )  # fmt: skip
        return result, scorer.scored

    return run


FIELDS = {field.name for field in dataclasses.fields(StudyConfig)}


def without_seconds(trials: Sequence[TrialReport]) -> list[TrialReport]:
    return [dataclasses.replace(t, seconds=0.0) for t in trials]


def best_by_force(space: SearchSpace, latency: CountingLatency, kl_of: KlOf, budget_ms: float) -> float:
    fitting = [a for a in space.enumerate() if 1.02 * latency.ms(a) <= budget_ms]
    return min(kl_of(a, space.base) for a in fitting)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("with_library", [True, False])
def test_finds_the_optimum_of_a_small_space_in_few_evaluations(
    study: StudyOf, make_space: MakeSpace, latency: CountingLatency, kl_of: KlOf, seed: int, with_library: bool
) -> None:
    space = make_space(3)
    assert space.size == 6**3 - 3**3
    result, scored = study(space, with_library=with_library, trials=60 if not with_library else 25, seed=seed)
    assert result.best is not None
    assert result.best.kl == pytest.approx(best_by_force(space, latency, kl_of, 2.4))
    assert len(scored) <= 60


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_nothing_is_scored_twice_or_above_the_budget(study: StudyOf, latency: CountingLatency, sampler: str) -> None:
    result, scored = study(trials=30, sampler=sampler, guided=False, seeds=(), repair=False, prune=False)
    assert len(scored) == len(set(scored)) == result.num_evaluations <= 30
    assert all(1.02 * latency.ms(arch) <= 2.4 for arch in scored)
    states = {trial.state for trial in result.trials}
    assert "infeasible" in states
    assert all(t.reason for t in result.trials if t.state in ("infeasible", "duplicate"))
    assert 0 < result.feasible_share < 1


def test_the_same_seed_gives_the_same_trials(study: StudyOf, make_space: MakeSpace) -> None:
    space = make_space(4)
    first, _ = study(space, budget_ms=2.8, trials=15, seed=3)
    again, _ = study(space, budget_ms=2.8, trials=15, seed=3)
    other, _ = study(space, budget_ms=2.8, trials=15, seed=4)
    assert without_seconds(first.trials) == without_seconds(again.trials)
    assert [t.arch for t in first.trials] != [t.arch for t in other.trials]


@pytest.mark.parametrize("settings", [{}, {"sampler": "nsga2", "guided": False, "seeds": ()}])
def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(
    study: StudyOf, make_space: MakeSpace, tmp_path: Path, settings: dict[str, Any]
) -> None:
    space, url = make_space(4), f"sqlite:///{tmp_path}/study.db"
    whole, _ = study(space, budget_ms=2.8, trials=20, **settings)
    first, scored_first = study(space, budget_ms=2.8, trials=11, storage_url=url, **settings)
    assert first.stopped == "trials"
    rest, scored_rest = study(space, budget_ms=2.8, trials=20, storage_url=url, **settings)
    assert not set(scored_first) & set(scored_rest)
    assert len(scored_first) + len(scored_rest) == 20
    assert without_seconds(rest.trials) == without_seconds(whole.trials)


def test_a_finished_study_is_only_read(study: StudyOf, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    first, _ = study(trials=8, storage_url=url)
    again, scored = study(trials=8, storage_url=url)
    assert scored == []
    assert again.trials == first.trials
    assert again.best == first.best


def test_stored_trials_are_the_reports(study: StudyOf, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    assert stored_trials(url, "mine") == []
    result, _ = study(trials=5, storage_url=url, study_name="mine")
    found = stored_trials(url, "mine")
    assert [(t.number, t.arch_id) for t in found] == [(t.number, t.arch.arch_id) for t in result.trials]
    for trial, whole in zip(found, result.trials, strict=True):
        report = dataclasses.asdict(whole) | {"predicted_interval_ms": list(whole.predicted_interval_ms)}
        said_elsewhere = ("number", "arch", "elsewhere")
        assert trial.report == {name: value for name, value in report.items() if name not in said_elsewhere}
    assert stored_trials(url, "other") == []


def test_a_study_about_something_else_is_refused(study: StudyOf, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study(trials=2, storage_url=url, identity={"task": "a"})
    with pytest.raises(NuwaError, match="differs in task"):
        study(trials=2, storage_url=url, identity={"task": "b"})


def test_a_storage_that_cannot_be_opened_is_outside(study: StudyOf, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="failed"):
        study(trials=2, storage_url=f"sqlite:///{tmp_path}/no/such/folder/study.db")


def test_many_come_to_a_new_database_at_once(make_space: MakeSpace, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def open_new(k: int, folder: Path) -> list[TrialReport]:
        together.wait()
        log = StudyLog(
            make_space(), config=StudyConfig(), place=StudyPlace(f"study {k}", f"sqlite:///{folder}/new.sqlite")
        )
        log.close()
        return log.trials

    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(open_new, range(4), [folder] * 4)) == [[]] * 4


def test_an_unreachable_budget_names_the_fastest(
    study: StudyOf, make_space: MakeSpace, latency: CountingLatency
) -> None:
    with pytest.raises(BudgetTooSmallError, match="fastest reachable") as raised:
        study(budget_ms=1.0, trials=5)
    fastest = min(make_space().enumerate(), key=latency.ms)
    assert latency.ms(raised.value.fastest) == latency.ms(fastest)
    assert raised.value.exit_code == 1


def test_fastest_is_found_where_narrower_is_slower(make_space: MakeSpace) -> None:
    class Tiled(CountingLatency):
        def ms(self, arch: Arch) -> float:
            return super().ms(arch) + 0.3 * sum(b.mlp_width == 0 for b in arch.blocks)

    space = make_space()
    assert Tiled().ms(fastest_arch(space, Tiled())) == min(Tiled().ms(a) for a in space.enumerate())


def test_an_exhausted_space_stops(study: StudyOf, make_space: MakeSpace) -> None:
    space = make_space(1)
    result, scored = study(space, budget_ms=10.0, trials=50)
    assert result.stopped == "exhausted"
    assert len(scored) == space.size


def test_a_patient_study_stops_once_its_own_proposals_stay_behind(study: StudyOf) -> None:
    """The best of the space is its first seed, so nothing can beat it."""
    best = min((t for t in study(trials=60)[0].trials if t.state == "scored"), key=scored_kl).arch
    result, _ = study(trials=60, first=(best,), patience=5)
    assert result.stopped == "settled"
    own = [t for t in result.trials if t.is_evaluation and t.origin in ("sampler", "neighbour")]
    assert len(own) == 5
    assert study(trials=30, first=(best,))[0].stopped == "trials"


def test_a_memory_limit_that_nothing_meets_is_named(study: StudyOf) -> None:
    memory = MemoryLimit(1.0, lambda archs: np.full(len(archs), 2.0))
    with pytest.raises(BudgetTooSmallError, match=r"no subnet fits 1 MB: .* at 2 MB") as raised:
        study(budget_ms=9.0, trials=5, memory=memory)
    assert "--max-memory-mb 2" in raised.value.hint


@pytest.mark.parametrize("min_attn", [0, 1, 2, 3])
def test_the_smallest_arch_is_that_of_fewest_weights(make_space: MakeSpace, min_attn: int) -> None:
    space = dataclasses.replace(make_space(3), min_attn=min_attn)
    found = smallest_arch(space)
    assert space.contains(found)
    assert count_params(found) == min(count_params(arch) for arch in space.enumerate())


def test_limits_that_nothing_meets_together_end_the_study(study: StudyOf, make_space: MakeSpace) -> None:
    smallest = smallest_arch(make_space(6))  # fits, but was seen to by nobody: only the whole space would find it
    memory = MemoryLimit(1.0, lambda archs: np.array([0.5 if arch == smallest else 2.0 for arch in archs]))
    result, scored = study(
        make_space(6), budget_ms=None, trials=5, pareto=True, guided=False, repair=False, memory=memory
    )
    assert result.stopped == "exhausted"
    assert scored == []


def test_stops_when_asked_and_keeps_what_it_has(study: StudyOf, tmp_path: Path) -> None:
    seen: list[TrialReport] = []
    url = f"sqlite:///{tmp_path}/study.db"
    result, _ = study(trials=30, on_trial=seen.append, should_stop=lambda: len(seen) >= 5, storage_url=url)
    assert result.stopped == "asked"
    assert len(result.trials) == len(seen) == 5
    assert study(trials=5, storage_url=url)[1] == []


def test_an_interrupt_leaves_finished_trials_in_the_storage(study: StudyOf, tmp_path: Path) -> None:
    def interrupt(report: TrialReport) -> None:
        if report.number == 3:
            raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(KeyboardInterrupt):
        study(trials=30, on_trial=interrupt, storage_url=url)
    result, _ = study(trials=4, storage_url=url)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]


def test_the_front_is_spread_and_undominated(study: StudyOf, make_space: MakeSpace) -> None:
    result, _ = study(make_space(4), budget_ms=None, trials=40, pareto=True)
    front = result.front
    assert len(front) >= 6
    for faster, slower in itertools.pairwise(front):
        assert faster.predicted_latency_ms < slower.predicted_latency_ms
        assert scored_kl(faster) > scored_kl(slower)


def test_feasibility_follows_the_predictor_as_it_is_now(study: StudyOf, make_space: MakeSpace, tmp_path: Path) -> None:
    space, url = make_space(4), f"sqlite:///{tmp_path}/study.db"
    first, _ = study(space, budget_ms=2.8, trials=15, storage_url=url)
    slower = CountingLatency(1.1)
    second, _ = study(space, budget_ms=2.8, trials=20, storage_url=url, latency=slower)
    assert 1.02 * slower.ms(best_of(second).arch) <= 2.8
    assert scored_kl(best_of(second)) >= scored_kl(best_of(first))


def test_a_study_needs_a_budget_or_the_front(study: StudyOf) -> None:
    with pytest.raises(NuwaError, match="budget"):
        study(budget_ms=None, trials=2)


def test_unknown_samplers_name_the_known(study: StudyOf) -> None:
    with pytest.raises(NuwaError, match="unknown sampler 'tep'") as raised:
        study(trials=2, sampler="tep")
    assert "tpe" in raised.value.hint
