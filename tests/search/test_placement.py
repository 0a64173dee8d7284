"""Placement of sub-models against every placement there is."""

import dataclasses
import itertools

import numpy as np
import pytest

from nuwa_search.core.errors import NoAnswerError
from nuwa_search.search.collaborate.placement import PlacementProblem, lower_bound_ms, place_models


def random_problem(seed: int, *, num_models: int, num_devices: int, tightness: float) -> PlacementProblem:
    rng = np.random.default_rng(seed)
    size, speed = rng.uniform(1, 10, num_models), rng.uniform(0.5, 4, num_devices)
    memory = rng.uniform(5, 40, num_models)
    room = tightness * memory.sum() * rng.dirichlet(np.full(num_devices, 8.0))
    return PlacementProblem(
        compute_ms=tuple(tuple(float(ms) for ms in row) for row in size[:, None] * speed),
        memory_mb=tuple((float(mb),) * num_devices for mb in memory),
        room_mb=(None, *(float(mb) for mb in room[1:])) if seed % 3 == 0 else tuple(float(mb) for mb in room),
        transfer_ms=tuple(float(ms) for ms in rng.uniform(0, 1, num_devices)),
    )


def brute_force(problem: PlacementProblem) -> float | None:
    every = itertools.product(range(problem.num_devices), repeat=problem.num_models)
    return min((problem.slowest_ms(places) for places in every if problem.is_within(places)), default=None)


@pytest.mark.parametrize("tightness", [0.9, 1.5, 3.0])
def test_small_cases_are_solved_as_by_brute_force(tightness: float) -> None:
    feasible = 0
    for seed in range(12):
        problem = random_problem(seed, num_models=2 + seed % 4, num_devices=2 + seed % 3, tightness=tightness)
        best = brute_force(problem)
        if best is None:
            with pytest.raises(NoAnswerError, match="MB"):
                place_models(problem)
            continue
        feasible += 1
        placed = place_models(problem)
        assert problem.is_within(placed.places)
        assert placed.is_exact
        assert placed.gap == 0
        assert placed.slowest_ms == pytest.approx(best)
        assert lower_bound_ms(problem) <= best * (1 + 1e-9)
    assert feasible or tightness < 1


def test_the_greedy_way_keeps_limits_and_states_a_gap_that_holds() -> None:
    ratios = []
    for seed in range(20):
        problem = random_problem(seed, num_models=6, num_devices=3, tightness=2.0)
        best = brute_force(problem)
        assert best is not None
        placed = place_models(problem, max_exact=0)
        assert problem.is_within(placed.places)
        assert not placed.is_exact
        assert placed.slowest_ms * (1 - placed.gap) <= best * (1 + 1e-9)
        ratios.append(placed.slowest_ms / best)
    assert np.mean(ratios) < 1.05


def test_what_fits_nowhere_is_said() -> None:
    problem = PlacementProblem(((1.0, 2.0),), ((50.0, 60.0),), (40.0, 45.0), (0.0, 0.0))
    with pytest.raises(NoAnswerError, match=r"at least 50\.0 MB, and no device has more than 45\.0 MB"):
        place_models(problem)
    two = dataclasses.replace(problem, compute_ms=((1.0, 2.0),) * 3, memory_mb=((30.0, 30.0),) * 3)
    with pytest.raises(NoAnswerError, match="3 sub-models do not fit"):
        place_models(two)


def test_transfer_counts_where_a_model_is_placed() -> None:
    problem = PlacementProblem(((2.0, 2.5),), ((1.0, 1.0),), (None, None), (1.0, 0.1))
    assert place_models(problem).places == (1,)
