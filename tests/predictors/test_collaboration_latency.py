"""Latency of several boards: closed forms of maxima, order statistics, mixtures and streams."""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.collaboration.modes import (
    BoardTimes,
    Centre,
    RouteStep,
    any_of_n_latency,
    fuse_latency,
    route_latency,
)
from nuwa_search.predictors.collaboration.spread import Spread

NO_TIME = Spread(0.0, 0.0)
FREE = Centre(0.0)


def board(p50_ms: float, p95_ms: float | None = None, *, way_ms: float = 0.0, wire_ms: float = 0.0) -> BoardTimes:
    way = Spread(way_ms, way_ms)
    return BoardTimes(Spread(p50_ms, p95_ms or p50_ms), way, way, wire_ms)


def test_equal_boards_take_as_long_together_as_one() -> None:
    one, four = (fuse_latency([board(10.0, way_ms=5.0)] * n, Centre(0.5)) for n in (1, 4))
    for found in (one, four):
        assert found.p50_ms == pytest.approx(15.5)
        assert found.p95_ms == pytest.approx(15.5)
        assert found.mean_ms == pytest.approx(15.5)
        assert found.images_per_s == pytest.approx(100)


def test_the_slowest_board_decides_compute_or_transfer() -> None:
    found = fuse_latency([board(20.0), board(1.0, way_ms=60.0, wire_ms=59.0)], FREE)
    assert found.p50_ms == pytest.approx(61.0)
    assert found.images_per_s == pytest.approx(1000 / 59)


def test_a_stream_is_as_fast_as_its_busiest_part() -> None:
    boards = [board(10.0, way_ms=5.0)] * 4
    assert fuse_latency(boards, Centre(0.5, wire_ms=40.0)).images_per_s == pytest.approx(25)
    assert fuse_latency(boards, Centre(50.0)).images_per_s == pytest.approx(20)
    assert fuse_latency(boards, Centre(0.5, program_ms=39.5)).images_per_s == pytest.approx(25)
    busy = [dataclasses.replace(board(10.0), message_ms=2.5)] * 4
    assert fuse_latency(busy, FREE).images_per_s == pytest.approx(80)


def test_a_stream_of_varying_times_goes_by_their_mean() -> None:
    one = Spread(10.0, 20.0)
    drawn = 10.0 * np.exp(math.log(2) / NormalDist().inv_cdf(0.95) * np.random.default_rng(0).normal(size=200_000))
    assert fuse_latency([board(10.0, 20.0)], FREE).images_per_s == pytest.approx(1000 / drawn.mean(), rel=1e-2)
    assert one.mean_ms > 10.0


def test_the_median_of_the_slowest_of_four_is_a_higher_quantile_of_one() -> None:
    boards = [board(10.0, 15.0)] * 4
    sigma = math.log(1.5) / NormalDist().inv_cdf(0.95)

    def quantile(share: float) -> float:
        return 10.0 * math.exp(sigma * NormalDist().inv_cdf(share))

    found = fuse_latency(boards, FREE)
    assert found.p50_ms == pytest.approx(quantile(0.5**0.25), rel=1e-6)
    assert found.p95_ms == pytest.approx(quantile(0.95**0.25), rel=1e-6)


def test_any_of_n_is_an_order_statistic() -> None:
    spreads = [(10.0, 14.0), (12.0, 13.0), (8.0, 20.0)]
    boards = [board(*pair) for pair in spreads]
    rng = np.random.default_rng(0)
    z95 = NormalDist().inv_cdf(0.95)
    drawn = np.sort([p50 * np.exp(np.log(p95 / p50) / z95 * rng.normal(size=200_000)) for p50, p95 in spreads], axis=0)
    for count in (1, 2, 3):
        found = any_of_n_latency(boards, FREE, count=count)
        assert found.p50_ms == pytest.approx(np.quantile(drawn[count - 1], 0.5), rel=5e-3)
        assert found.p95_ms == pytest.approx(np.quantile(drawn[count - 1], 0.95), rel=5e-3)
        assert found.mean_ms == pytest.approx(drawn[count - 1].mean(), rel=1e-2)
    with pytest.raises(NuwaError, match="of 3 boards 4 cannot answer"):
        any_of_n_latency(boards, FREE, count=4)


def test_routed_images_take_the_mean_of_their_ways() -> None:
    boards = [board(4.0, way_ms=1.0), board(9.0, way_ms=1.0)]
    found = route_latency(boards, FREE, steps=[RouteStep(0.75, ((0,),)), RouteStep(0.25, ((0,), (1,)))])
    assert found.mean_ms == pytest.approx(5.0 + 0.25 * 10.0)
    assert found.p50_ms == pytest.approx(5.0)
    assert found.p95_ms == pytest.approx(15.0)
    assert found.images_per_s == pytest.approx(1000 / 4.0)  # the second is busy for a quarter of its nine
    with pytest.raises(NuwaError, match="sum to 1"):
        route_latency(boards, FREE, steps=[RouteStep(0.5, ((0,),))])


def test_those_asked_at_once_take_as_long_as_the_slowest() -> None:
    boards = [board(4.0), board(9.0), board(7.0)]
    found = route_latency(boards, FREE, steps=[RouteStep(1.0, ((0,), (1, 2)))])
    assert found.mean_ms == pytest.approx(13.0)
    assert found.images_per_s == pytest.approx(1000 / 9)


def test_times_add_and_their_tails_as_squares() -> None:
    both = Spread(10.0, 13.0).then(Spread(5.0, 9.0))
    assert both == Spread(15.0, 20.0)
    assert NO_TIME.then(both) == both
    with pytest.raises(NuwaError, match="p50 <= p95"):
        Spread(2.0, 1.0)
