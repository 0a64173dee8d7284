"""Routing: who is asked, what that costs, and that the threshold keeps the mean latency that is wanted."""

from collections.abc import Sequence

import numpy as np
import pytest

from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.modes import BoardTimes, Centre, RouteStep, route_mean_ms
from nuwa_search.predictors.collaboration.spread import Spread
from nuwa_search.search.collaborate.routing import NEVER_SURE, Route, Routes, choose_route

GROUPS = ((0, 1), (2, 3))
FAST, SLOW = 2.0, 8.0


def fusion() -> Fusion:
    """Vectors are logits: a sub-model alone says its own, the fusion their sum."""
    eye = np.eye(4, dtype=np.float32)
    weights = np.concatenate([eye, eye, np.zeros((2, 4), np.float32)])
    zeros = np.zeros(4, np.float32)
    return Fusion((weights,), (zeros,), (eye, eye), (zeros, zeros))


def mean_of(steps: Sequence[RouteStep]) -> float:
    none = Spread(0.0, 0.0)
    boards = [BoardTimes(Spread(ms, ms), none, none, 0.0) for ms in (FAST, SLOW)]
    return route_mean_ms(boards, Centre(0.0), steps=steps)


def noisy_vectors(num: int = 400) -> tuple[list[Floats], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The first sees all classes dimly, the second its own group well."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, num)
    first = rng.normal(size=(num, 4)) + 1.5 * np.eye(4)[labels]
    second = 0.1 * rng.normal(size=(num, 4)) + 6.0 * np.eye(4)[labels] * np.isin(labels, GROUPS[1])[:, None]
    return [first.astype(np.float32), second.astype(np.float32)], labels


def routes_of(vectors: list[Floats]) -> list[Routes]:
    return [Routes(vectors, fusion(), groups=GROUPS, first=first) for first in range(len(GROUPS))]


def test_a_sure_first_answers_alone_and_an_unsure_one_asks_the_expert() -> None:
    sure_0, sure_3, unsure = [9.0, 0, 0, 0], [0, 0, 0, 9.0], [0, 0, 1.0, 0.9]
    first = np.array([sure_0, sure_3, unsure], np.float32)
    second = np.array([[0, 5.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 5.0]], np.float32)
    routes = routes_of([first, second])[0]
    assert routes.asked((0.9, 0.0, 0.0)).tolist() == [1, 1, 2]
    assert routes.answers((0.9, 0.0, 0.0)).tolist() == [0, 3, 3]  # the last by both together
    assert routes.steps((0.9, 0.0, 0.0)) == (RouteStep(2 / 3, ((0,),)), RouteStep(1 / 3, ((0,), (1,))))
    # of its own group the first is the expert where it is believed, and two boards are everybody
    assert routes.asked((NEVER_SURE, NEVER_SURE, 0.0)).tolist() == [1, 2, 2]
    assert routes.asked((NEVER_SURE, NEVER_SURE, NEVER_SURE)).tolist() == [4, 2, 2]


def test_where_two_are_not_sure_the_rest_is_asked() -> None:
    eye, zeros = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    weights = np.concatenate([eye, eye, eye, np.zeros((3, 3), np.float32)])
    three = Fusion((weights,), (zeros,), (eye,) * 3, (zeros,) * 3)
    first = np.array([[0.0, 1.0, 0.9], [0.0, 5.0, 0.0]], np.float32)
    second = np.array([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]], np.float32)
    third = np.array([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]], np.float32)
    routes = Routes([first, second, third], three, groups=((0,), (1,), (2,)), first=0)
    assert routes.asked((NEVER_SURE, 0.9, 0.0)).tolist() == [3, 2]
    assert routes.answers((NEVER_SURE, 0.9, 0.0)).tolist() == [2, 1]
    assert routes.steps((NEVER_SURE, 0.9, 0.0)) == (RouteStep(0.5, ((0,), (1,))), RouteStep(0.5, ((0,), (1,), (2,))))
    # no pair is held to be sure: nobody waits for the expert alone
    assert routes.steps((NEVER_SURE, NEVER_SURE, 0.0)) == (RouteStep(1.0, ((0,), (1, 2))),)


def test_never_sure_is_what_all_of_them_answer_and_so_as_accurate_is_always_found() -> None:
    """The first is no good of its own group: believed there, it would cost what no threshold brings back."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    first = np.concatenate([rng.normal(size=(200, 2)), np.full((200, 2), -9.0)], axis=1).astype(np.float32)
    second = (9.0 * np.eye(4)[labels]).astype(np.float32)
    routes = Routes([first, second], fusion(), groups=GROUPS, first=0)
    assert (routes.answers((NEVER_SURE, NEVER_SURE, NEVER_SURE)) == labels).all()
    assert (routes.answers((NEVER_SURE, NEVER_SURE, 0.0)) == labels).mean() < 0.7
    found = choose_route([routes], labels, mean_of=mean_of, wanted_mean_ms=None, as_accurate_as=1.0)
    assert found.top1 == 1.0


def chosen(wanted_ms: float | None, *, as_accurate_as: float = 1.0) -> Route:
    vectors, labels = noisy_vectors()
    return choose_route(
        routes_of(vectors), labels, mean_of=mean_of, wanted_mean_ms=wanted_ms, as_accurate_as=as_accurate_as
    )


@pytest.mark.parametrize("wanted_ms", [2.0, 3.5, 5.0])
def test_the_thresholds_keep_the_wanted_mean_latency(wanted_ms: float) -> None:
    vectors, labels = noisy_vectors()
    route = chosen(wanted_ms)
    assert route.mean_ms <= wanted_ms + 1e-6
    again = routes_of(vectors)[route.first]
    assert float((again.answers(route.thresholds) == labels).mean()) == route.top1
    assert mean_of(again.steps(route.thresholds)) == route.mean_ms


def test_more_time_is_never_less_accurate_and_too_little_gives_the_fastest() -> None:
    found = [chosen(wanted) for wanted in (0.1, 2.5, 4.0, 6.0, None)]
    assert found[0].mean_ms == pytest.approx(FAST)
    scores = [route.top1 for route in found]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0]


def test_without_a_wanted_mean_the_fastest_of_those_as_accurate_as_is_asked_is_taken() -> None:
    best = chosen(None)
    modest = chosen(None, as_accurate_as=best.top1 - 0.05)
    assert best.top1 - 0.05 <= modest.top1 < best.top1
    assert modest.mean_ms < best.mean_ms
