import itertools
import time

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.feasible import Limits
from nuwa_search.search.judge import Candidate, Distilled, Rung, cost_of, judge, pick_candidates, plan_rungs
from nuwa_search.search.run import run_study
from nuwa_search.search.run_cost import RunCost
from nuwa_search.search.trials import StudyConfig


class Curve:
    """A net whose accuracy after n steps is ``final`` minus a debt paid off with training."""

    def __init__(self, final, debt):
        self.final, self.debt = final, debt

    def top1(self, steps):
        return self.final - self.debt / (1 + steps)


def tune(model, steps):
    return Distilled(model, model.top1(steps), 1 - model.top1(steps))


def candidates(curves):
    return [Candidate(f"c{k}", None, curve) for k, curve in enumerate(curves)]


def test_the_default_plan_halves_by_four():
    rungs = plan_rungs(16, full_steps=160, cost=RunCost(0, 0), seconds=None)
    assert rungs == (Rung(16, 10), Rung(4, 40), Rung(1, 160))
    assert plan_rungs(5, full_steps=160, cost=RunCost(0, 0), seconds=None) == (Rung(5, 10), Rung(4, 40), Rung(1, 160))
    assert plan_rungs(1, full_steps=160, cost=RunCost(0, 0), seconds=None) == (Rung(1, 160),)


@pytest.mark.parametrize("seconds", [30.0, 100.0, 200.0, 1000.0])
def test_plans_keep_inside_the_time_and_use_it(seconds):
    cost = RunCost(fixed_s=1.0, step_s=0.5)
    rungs = plan_rungs(40, full_steps=100, cost=cost, seconds=seconds)
    assert cost_of(rungs, cost) <= seconds
    assert rungs[-1].num_candidates == 1
    more = plan_rungs(40, full_steps=100, cost=cost, seconds=2 * seconds)
    assert more[0].num_candidates >= rungs[0].num_candidates


def test_the_best_by_full_training_wins_though_it_starts_behind():
    field = candidates([Curve(0.80, 0.1), Curve(0.82, 0.5), Curve(0.90, 1.0), Curve(0.85, 0.2)])
    verdict = judge(field, tune=tune, full_steps=100)
    assert verdict.winner.name == "c2"
    assert verdict.tuned.top1 == pytest.approx(Curve(0.90, 1.0).top1(100))
    assert [j.steps for j in verdict.judgements] == [25] * 4 + [100]


def test_a_rival_meets_the_winner_at_equal_steps_and_may_win():
    field = candidates([Curve(0.80, 0.1), Curve(0.7, 0.1)])
    for final, name in ((0.9, "small"), (0.6, "c0")):
        verdict = judge(field, tune=tune, full_steps=40, rivals=[Candidate("small", None, Curve(final, 0.1))])
        assert verdict.winner.name == name
        assert {j.steps for j in verdict.judgements[-2:]} == {40}


def test_ties_go_to_the_lower_kl():
    verdict = judge(candidates([Curve(0.8, 0.1)] * 3), tune=tune, full_steps=4)
    assert verdict.winner.name == "c0"


def test_time_is_measured_before_it_is_planned():
    def slow(model, steps):
        time.sleep(0.02 + 0.01 * steps)
        return tune(model, steps)

    field = candidates([Curve(0.8, 0.1)] * 16)
    verdict = judge(field, tune=slow, full_steps=16, seconds=1.0)
    assert len(verdict.judgements) < 21


def test_no_candidates_are_refused():
    with pytest.raises(NuwaError, match="at least one"):
        judge([], tune=tune, full_steps=10)


def test_candidates_of_a_study_are_its_best_and_differ(make_space, make_deriver, make_scorer, latency):
    space = make_space(4)
    result = run_study(
        space, deriver=make_deriver(), scorer=make_scorer(space.base), limits=Limits(latency, 2.8),
        config=StudyConfig(trials=20),
    )  # fmt: skip
    picked = pick_candidates(result, deriver=make_deriver(), count=4)
    assert picked[0].arch == result.best.arch
    assert all(a.arch != b.arch for a, b in itertools.combinations(picked, 2))
