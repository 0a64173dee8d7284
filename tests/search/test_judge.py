import itertools
import time
from collections.abc import Sequence
from typing import cast

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.feasible import Limits
from nuwa_search.search.judge import Candidate, Distilled, Rung, cost_of, judge, pick_candidates, plan_rungs
from nuwa_search.search.run import run_study
from nuwa_search.search.run_cost import RunCost
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency, EmptyDeriver, MakeSpace, SyntheticScorer, best_of, tiny_base


class Curve:
    """A net whose accuracy after n steps is ``final`` minus a debt paid off with training."""

    def __init__(self, final: float, debt: float) -> None:
        self.final, self.debt = final, debt

    def top1(self, steps: int) -> float:
        return self.final - self.debt / (1 + steps)


def tune(model: PlainViT, steps: int) -> Distilled:
    """Ask the curve that ``candidate`` put in a net's place."""
    top1 = cast(Curve, model).top1(steps)
    return Distilled(model, top1, 1 - top1)


def candidate(name: str, curve: Curve) -> Candidate:
    return Candidate(name, tiny_base(), cast(PlainViT, curve))


def candidates(curves: Sequence[Curve]) -> list[Candidate]:
    return [candidate(f"c{k}", curve) for k, curve in enumerate(curves)]


def test_the_default_plan_halves_by_four() -> None:
    rungs = plan_rungs(16, full_steps=160, cost=RunCost(0, 0), seconds=None)
    assert rungs == (Rung(16, 10), Rung(4, 40), Rung(1, 160))
    assert plan_rungs(5, full_steps=160, cost=RunCost(0, 0), seconds=None) == (Rung(5, 10), Rung(4, 40), Rung(1, 160))
    assert plan_rungs(1, full_steps=160, cost=RunCost(0, 0), seconds=None) == (Rung(1, 160),)


@pytest.mark.parametrize("seconds", [30.0, 100.0, 200.0, 1000.0])
def test_plans_keep_inside_the_time_and_use_it(seconds: float) -> None:
    cost = RunCost(fixed_s=1.0, step_s=0.5)
    rungs = plan_rungs(40, full_steps=100, cost=cost, seconds=seconds)
    assert cost_of(rungs, cost) <= seconds
    assert rungs[-1].num_candidates == 1
    more = plan_rungs(40, full_steps=100, cost=cost, seconds=2 * seconds)
    assert more[0].num_candidates >= rungs[0].num_candidates


def test_the_best_by_full_training_wins_though_it_starts_behind() -> None:
    field = candidates([Curve(0.80, 0.1), Curve(0.82, 0.5), Curve(0.90, 1.0), Curve(0.85, 0.2)])
    verdict = judge(field, tune=tune, full_steps=100)
    assert verdict.winner.name == "c2"
    assert verdict.tuned.top1 == pytest.approx(Curve(0.90, 1.0).top1(100))
    assert [j.steps for j in verdict.judgements] == [25] * 4 + [100]


def test_a_rival_meets_the_winner_at_equal_steps_and_may_win() -> None:
    field = candidates([Curve(0.80, 0.1), Curve(0.7, 0.1)])
    for final, name in ((0.9, "small"), (0.6, "c0")):
        verdict = judge(field, tune=tune, full_steps=40, rivals=[candidate("small", Curve(final, 0.1))])
        assert verdict.winner.name == name
        assert {j.steps for j in verdict.judgements[-2:]} == {40}


def test_ties_go_to_the_lower_kl() -> None:
    verdict = judge(candidates([Curve(0.8, 0.1)] * 3), tune=tune, full_steps=4)
    assert verdict.winner.name == "c0"


def test_time_is_measured_before_it_is_planned() -> None:
    def slow(model: PlainViT, steps: int) -> Distilled:
        time.sleep(0.02 + 0.01 * steps)
        return tune(model, steps)

    field = candidates([Curve(0.8, 0.1)] * 16)
    verdict = judge(field, tune=slow, full_steps=16, seconds=1.0)
    assert len(verdict.judgements) < 21


def test_no_candidates_are_refused() -> None:
    with pytest.raises(NuwaError, match="at least one"):
        judge([], tune=tune, full_steps=10)


def test_candidates_of_a_study_are_its_best_and_differ(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> None:
    space = make_space(4)
    result = run_study(
        space, deriver=make_deriver(), scorer=make_scorer(space.base), limits=Limits(latency, 2.8),
        config=StudyConfig(trials=20),
    )  # fmt: skip
    picked = pick_candidates(result, deriver=make_deriver(), count=4)
    assert picked[0].arch == best_of(result).arch
    assert all(a.arch != b.arch for a, b in itertools.combinations(picked, 2))
