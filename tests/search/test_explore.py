"""Nets predicted from changed logits, run and expanded again."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.predictors.accuracy import prior_from_library
from nuwa_search.search import explore, library, linear_changes
from nuwa_search.search import scorer as scorer_module
from nuwa_search.search.explore import MAX_SEEDS, MOST_STARTS, NEAR_BEST, Explorer, moves_of
from nuwa_search.search.feasible import Limits
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.library import Library, build_library
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.seeds import Seed, additive_fronts, kl_limit, knapsack_seeds
from nuwa_search.search.space import SearchSpace, space_from_base
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency, best_of, scored_kl
from tests.support.sliced_vit import BASE, SlicingDeriver, make_scorer, make_teacher

BUDGET_MS = 1.1
Parts = tuple[SearchSpace, SlicingDeriver, TeacherScorer, Library]


@pytest.fixture(scope="module", autouse=True)
def really_run() -> Iterator[None]:
    """Neither rounding to bf16 nor gradients are the matter here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (linear_changes, library):
            patch.setattr(module, "is_linearised", lambda arch: False)
        for module in (explore, library, scorer_module):
            patch.setattr(module, "scoring_context", contextlib.nullcontext)
        yield


@pytest.fixture(scope="module")
def parts(really_run: None) -> Parts:
    teacher = make_teacher()
    scorer, deriver = make_scorer(teacher), SlicingDeriver(teacher)
    space = space_from_base(BASE, mlp_steps=4, dim_steps=2)
    return space, deriver, scorer, build_library(space, deriver=deriver, scorer=scorer, teacher=teacher)


def explored(
    parts: Parts,
    latency: CountingLatency,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    starts: Sequence[Arch] = (),
) -> tuple[Explorer, list[Seed]]:
    space, deriver, scorer, rows = parts
    explorer = Explorer(space, deriver=deriver, scorer=scorer, library=rows, seed=3)
    prior = prior_from_library(space.base, rows.archs, rows.kls)
    fronts = additive_fronts(space, prior=prior, latency=latency)
    budget = Limits(latency, BUDGET_MS)
    found = explorer.seeds(budget=budget, fronts=fronts, prior=prior, should_stop=should_stop, starts=starts)
    return explorer, found


def test_seeds_fit_were_run_and_come_best_first(parts: Parts, latency: CountingLatency) -> None:
    space, deriver, scorer, _ = parts
    assert latency.ms(BASE) > BUDGET_MS
    explorer, seeds = explored(parts, latency)
    assert 1 <= len(seeds) <= MAX_SEEDS
    archs = [seed.arch for seed in seeds]
    assert Limits(latency, BUDGET_MS).fits(archs).all()
    assert all(space.contains(arch) for arch in archs)
    kls = [scorer.score(deriver.derive(arch)).kl for arch in archs]
    assert kls == sorted(kls)
    assert kls[-1] <= kl_limit(kls[0], times=NEAR_BEST)
    np.testing.assert_allclose(explorer.model.kl(archs), kls, rtol=1e-4)  # nets that were run are known exactly
    assert [seed.arch for seed in explored(parts, latency)[1]] == archs


def test_moves_at_the_best_net_were_measured_there(parts: Parts, latency: CountingLatency) -> None:
    space, deriver, scorer, _ = parts
    explorer, _ = explored(parts, latency)
    expanded = [anchor for anchor in explorer.model.anchors if anchor.moves]
    assert expanded
    anchor = expanded[0]
    for (i, spec), change in list(anchor.moves.items())[:6]:
        blocks = [*anchor.arch.blocks[:i], spec, *anchor.arch.blocks[i + 1 :]]
        with torch.inference_mode():
            logits = deriver.derive(space.make(blocks))(scorer.inputs)
        np.testing.assert_allclose(anchor.logits + change, logits.numpy(), rtol=1e-3, atol=1e-4)


def test_moves_are_one_step_and_bring_branches_back(parts: Parts) -> None:
    space = parts[0]
    gone = space.make([type(BASE.blocks[0])(0, 0, 0, 64), *BASE.blocks[1:]])
    moves = dict.fromkeys(moves_of(space, gone))
    assert (0, type(BASE.blocks[0])(1, 16, 16, 64)) in moves
    assert all(spec != gone.blocks[i] for i, spec in moves)
    assert all(space.contains(space.make([*gone.blocks[:i], s, *gone.blocks[i + 1 :]])) for i, s in moves if i)


def test_out_of_time_what_was_run_is_what_there_is(parts: Parts, latency: CountingLatency) -> None:
    calls = itertools.count()
    explorer, seeds = explored(parts, latency, should_stop=lambda: next(calls) >= 2)
    assert explorer.num_run == 2
    assert 1 <= len(seeds) <= 2


def test_starts_are_run_first_and_expanded_where_none_is_predicted_to_beat_them(
    parts: Parts, latency: CountingLatency
) -> None:
    best = explored(parts, latency)[1][0].arch
    explorer, seeds = explored(parts, latency, starts=[best])
    assert explorer.model.anchors[1].arch == best  # behind the base
    assert explorer.model.kl([seeds[0].arch])[0] <= explorer.model.kl([best])[0]
    assert any(anchor.moves for anchor in explorer.model.anchors)


def test_a_start_that_does_not_fit_is_no_seed(parts: Parts, latency: CountingLatency) -> None:
    explorer, seeds = explored(parts, latency, starts=[BASE])
    assert explorer.num_run > 1
    assert BASE not in [seed.arch for seed in seeds]


def test_exploring_takes_half_of_a_studys_time_and_leaves_it_the_rest(
    parts: Parts, latency: CountingLatency, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, deriver, scorer, rows = parts
    clock = itertools.count()
    monkeypatch.setattr("nuwa_search.search.run.time.monotonic", lambda: float(next(clock)))
    explorer = Explorer(space, deriver=deriver, scorer=scorer, library=rows, seed=3)
    result = run_study(
        space,
        deriver=deriver,
        scorer=scorer,
        limits=Limits(latency, BUDGET_MS),
        config=StudyConfig(trials=60, seed=3, timeout_s=8.0),
        guidance=Guidance(library=rows, explorer=explorer),
    )
    assert result.stopped == "time"
    assert 1 <= explorer.num_run <= 4
    assert result.num_evaluations >= 1


def test_a_study_begins_with_what_was_explored(parts: Parts, latency: CountingLatency) -> None:
    space, deriver, scorer, rows = parts
    config = StudyConfig(seed=3)
    prior = prior_from_library(space.base, rows.archs, rows.kls)
    fronts = additive_fronts(space, prior=prior, latency=latency)
    exact = knapsack_seeds(fronts, prior=prior, budget=Limits(latency, BUDGET_MS), num_seeds=MOST_STARTS)
    explorer, seeds = explored(parts, latency, starts=[seed.arch for seed in exact])
    told = []
    again = Explorer(
        space, deriver=deriver, scorer=scorer, library=rows, seed=3, on_run=lambda *counts: told.append(counts)
    )
    result = run_study(
        space,
        deriver=deriver,
        scorer=scorer,
        limits=Limits(latency, BUDGET_MS),
        config=dataclasses.replace(config, trials=len(seeds) + 2),
        guidance=Guidance(library=rows, explorer=again),
    )
    assert [trial.arch for trial in result.trials][: len(seeds)] == [seed.arch for seed in seeds]
    assert result.best is not None
    assert scored_kl(best_of(result)) <= min(scored_kl(trial) for trial in result.trials[: len(seeds)])
    assert again.num_run == explorer.num_run
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(again.num_run <= len(told) <= most for _, most in told)
