import dataclasses
import math

import pytest

from nuwa_search.search import run_cost
from nuwa_search.search.run_cost import SAFE_SHARE, RunCost, affordable_steps, measure_run_cost


class Clock:
    """Time that passes only when told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_the_three_parts_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    runs: list[int] = []
    monkeypatch.setattr(run_cost, "time", clock)

    def run(steps: int) -> None:
        clock.now += 2.0 + 0.5 * steps + (0.0 if runs else 7.0)  # the teacher is asked in the first run only
        runs.append(steps)

    cost = measure_run_cost(run)
    assert dataclasses.astuple(cost) == pytest.approx(dataclasses.astuple(RunCost(fixed_s=2.0, step_s=0.5, view_s=7.0)))


@pytest.mark.parametrize("seconds", [0.0, 3.0, 10.0, 33.0, 50.0, 1000.0])
@pytest.mark.parametrize("max_views", [0, 2])
def test_affordable_steps_are_the_most_that_fit(seconds: float, max_views: int) -> None:
    cost = RunCost(fixed_s=1.0, step_s=0.25, view_s=2.0)
    found = affordable_steps(cost, wanted=80, seconds=seconds, steps_per_view=10, max_views=max_views)

    def is_fitting(steps: int) -> bool:
        views = math.ceil(steps / 10)
        views = min(views, max_views) if max_views else views
        return 1.0 + 0.25 * steps + 2.0 * (views - 1) <= SAFE_SHARE * seconds

    assert found == max([1, *(n for n in range(1, 81) if is_fitting(n))])


def test_without_a_limit_all_steps_are_affordable() -> None:
    assert affordable_steps(RunCost(1.0, 1.0), wanted=9, seconds=None, steps_per_view=1, max_views=0) == 9
