import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.knapsack import Group, solve

number = st.integers(0, 20).map(lambda k: k / 4)
group = st.lists(st.tuples(number, number), min_size=1, max_size=4).map(
    lambda items: Group(np.array([t for t, _ in items]), np.array([c for _, c in items]))
)


def brute_force(groups: list[Group], budget: float) -> float | None:
    best: float | None = None
    for picks in itertools.product(*(range(len(g.times)) for g in groups)):
        time = sum(g.times[k] for g, k in zip(groups, picks, strict=True))
        cost = sum(g.costs[k] for g, k in zip(groups, picks, strict=True))
        if time <= budget + 1e-12 and (best is None or cost < best):
            best = cost
    return best


@given(st.lists(group, min_size=1, max_size=5), st.floats(0, 30))
def test_equals_brute_force_at_any_budget(groups: list[Group], budget: float) -> None:
    sums = solve(groups)
    place = sums.best_within(budget)
    wanted = brute_force(groups, budget)
    assert (place is None) == (wanted is None)
    if place is not None:
        assert sums.costs[place] == pytest.approx(wanted)
        assert sums.gap_within(budget) == 0


@given(st.lists(group, min_size=1, max_size=5))
def test_points_are_what_their_choices_add_up_to(groups: list[Group]) -> None:
    sums = solve(groups)
    for point, picks in enumerate(sums.choices):
        assert sums.times[point] == pytest.approx(sum(g.times[k] for g, k in zip(groups, picks, strict=True)))
        assert sums.costs[point] == pytest.approx(sum(g.costs[k] for g, k in zip(groups, picks, strict=True)))
    assert (np.diff(sums.times) > 0).all()
    assert (np.diff(sums.costs) < 0).all()


def random_groups(num_groups: int, num_items: int, seed: int) -> list[Group]:
    rng = np.random.default_rng(seed)
    return [Group(rng.random(num_items), rng.random(num_items)) for _ in range(num_groups)]


@pytest.mark.parametrize("seed", range(5))
def test_a_thinned_solution_is_within_its_reported_gap(seed: int) -> None:
    groups = random_groups(8, 5, seed)
    exact, thinned = solve(groups), solve(groups, max_sums=40)
    for budget in (3.0, 4.0, 5.0):
        wanted = exact.costs[exact.best_within(budget)]
        found = thinned.costs[thinned.best_within(budget)]
        gap = thinned.gap_within(budget)
        assert found >= wanted - 1e-12
        assert found * (1 - gap) <= wanted + 1e-12
        assert gap < 0.2
    assert thinned.times[0] == exact.times[0]


def test_agrees_with_the_integer_programme_of_highs() -> None:
    groups, budget = random_groups(12, 9, 0), 4.0
    times, costs = np.concatenate([g.times for g in groups]), np.concatenate([g.costs for g in groups])
    one_each = np.kron(np.eye(12), np.ones((1, 9)))
    solved = optimize.milp(
        costs,
        constraints=[optimize.LinearConstraint(one_each, 1, 1), optimize.LinearConstraint(times[None], ub=budget)],
        integrality=np.ones(len(costs), dtype=np.int64),
        bounds=optimize.Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    sums = solve(groups)
    assert sums.costs[sums.best_within(budget)] == pytest.approx(solved.fun)


def test_empty_groups_and_impossible_budgets_are_refused() -> None:
    with pytest.raises(NuwaError, match="items"):
        solve([Group(np.zeros(0), np.zeros(0))])
    with pytest.raises(NuwaError, match="at most 1 ms"):
        solve([Group(np.array([2.0]), np.array([0.0]))]).gap_within(1.0)
