"""Score and time every way to use the boards, on vectors that are computed once."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.proportion import wilson_interval
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Mode, ModeFigures, RoutedShare
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.crew import Crew
from nuwa_search.predictors.collaboration.modes import (
    ModeLatency,
    any_of_n_latency,
    fuse_latency,
    route_latency,
    route_means,
)
from nuwa_search.search.collaborate.grouping import Groups
from nuwa_search.search.collaborate.routing import Route, Routes, choose_route

MAX_SUBSETS = 200
"""Sets of boards that the accuracy of any k of n is the mean over; of more, so many are drawn."""


@dataclass(frozen=True)
class Seen:
    """Outputs of the sub-models on a split.

    Args:
        vectors: (B, d_i) of each.
        labels: (B,).
    """

    vectors: tuple[Floats, ...]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assessed:
    """One way to use the boards.

    Args:
        figures: As a collaboration holds them; accuracy of the test split.
        top1_search: Accuracy on the search split.
        latency: Predicted, with images per second.
        is_right: (B,) share of the ways that the mode may go with which each test image is answered right: 0 or 1, but
            for any k of n.
    """

    figures: ModeFigures
    top1_search: float
    latency: ModeLatency
    is_right: Floats


def fused_answers(fusion: Fusion, seen: Seen, *, without: Collection[int | None] = ()) -> npt.NDArray[np.int64]:
    """Answer (B,) of all sub-models but some."""
    vectors = [None if k in without else vector for k, vector in enumerate(seen.vectors)]
    answers: npt.NDArray[np.int64] = fusion.fuse_all(vectors).argmax(axis=1)
    return answers


def assess_modes(
    fusion: Fusion, crew: Crew, *, groups: Groups, search: Seen, test: Seen, needed: int, wanted_mean_ms: float | None
) -> tuple[Assessed, ...]:
    """Score and time fuse, any and route; thresholds are chosen on the search split.

    Args:
        fusion: Fusion of the sub-models.
        crew: Boards that run them, and their network.
        groups: Classes that each sub-model is the expert of; none of the gate's.
        search: Search split.
        test: Test split.
        needed: Answers that suffice for any.
        wanted_mean_ms: Mean latency that route is to have; None for the most accurate.
    """
    whole, gate = crew.experts, crew.gate
    fuse = _assessed(
        ModeSaid("fuse", crew.bytes_of(whole)),
        fuse_latency(crew.times(), crew.centre),
        search=float((fused_answers(fusion, search, without={gate}) == search.labels).mean()),
        test=fused_answers(fusion, test, without={gate}) == test.labels,
    )
    away = len(whole) - needed
    any_of = _assessed(
        ModeSaid("any", crew.bytes_of(whole), needed=needed),
        any_of_n_latency(crew.times_by_model(are_alone=False), crew.centre, count=needed),
        search=float(_share_without(fusion, search, away=away, gate=gate).mean()),
        test=_share_without(fusion, test, away=away, gate=gate),
    )
    if len(groups) == 1:
        return fuse, any_of
    times = crew.times_by_model(are_alone=True)
    route = choose_route(
        [Routes(search.vectors, fusion, groups=groups, first=first) for first in range(len(groups))],
        search.labels,
        mean_of=route_means(times, crew.centre),
        wanted_mean_ms=wanted_mean_ms,
        as_accurate_as=fuse.top1_search,
    )
    return fuse, any_of, _assessed_route(route, fusion, crew, groups=groups, test=test)


@dataclass(frozen=True)
class ModeSaid:
    """Name of a mode and its own settings, as in ``ModeFigures``."""

    mode: Mode
    num_bytes: float
    needed: int | None = None
    route: Route | None = None


def _assessed_route(route: Route, fusion: Fusion, crew: Crew, *, groups: Groups, test: Seen) -> Assessed:
    routed = Routes(test.vectors, fusion, groups=groups, first=route.first).answers(route.thresholds)
    num_bytes = sum(step.share * crew.bytes_of(step.boards) for step in route.steps)
    latency = route_latency(crew.times_by_model(are_alone=True), crew.centre, steps=route.steps, owners=crew.owners)
    return _assessed(ModeSaid("route", num_bytes, route=route), latency, search=route.top1, test=routed == test.labels)


def _assessed(said: ModeSaid, latency: ModeLatency, *, search: float, test: npt.NDArray[np.bool_] | Floats) -> Assessed:
    top1 = float(test.mean())
    return Assessed(
        figures=ModeFigures(
            mode=said.mode,
            predicted_p50_ms=latency.p50_ms,
            predicted_p95_ms=latency.p95_ms,
            predicted_mean_ms=latency.mean_ms,
            bytes_per_image=said.num_bytes,
            needed=said.needed,
            first=None if said.route is None else said.route.first,
            thresholds=() if said.route is None else said.route.thresholds,
            steps=() if said.route is None else tuple(RoutedShare(s.share, s.rounds) for s in said.route.steps),
            top1=top1,
            top1_interval=wilson_interval(round(top1 * len(test)), len(test)),
            num_images=len(test),
            split="test",
        ),
        top1_search=search,
        latency=latency,
        is_right=np.asarray(test, np.float32),
    )


def _share_without(fusion: Fusion, seen: Seen, *, away: int, gate: int | None) -> Floats:
    """Share of the sets of ``away`` missing sub-models with which each image (B,) is answered right."""
    experts = [k for k in range(len(seen.vectors)) if k != gate]
    sets = list(itertools.combinations(experts, away))
    if len(sets) > MAX_SUBSETS:
        chosen = np.random.default_rng(0).choice(len(sets), MAX_SUBSETS, replace=False)
        sets = [sets[k] for k in sorted(chosen)]
    right = [fused_answers(fusion, seen, without={*without, gate}) == seen.labels for without in sets]
    return np.asarray(np.mean(right, axis=0, dtype=np.float64), np.float32)
