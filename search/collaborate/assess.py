"""Score and time every way to use the boards, on vectors that are computed once."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.deploy.collaborate.way_figures import Mode, ModeFigures, RoutedShare
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
from nuwa_search.search.collaborate.seen import ImagesRight, Rightness, Seen

MAX_SUBSETS = 200
"""Sets of boards that the accuracy of any k of n is the mean over; of more, so many are drawn."""
MAX_PIXEL_SUBSETS = 16
"""The same where pixels have classes: each set scales a map for every class to every picture."""


@dataclass(frozen=True)
class Assessed:
    """One way to use the boards.

    Args:
        figures: As a collaboration holds them; accuracy of the test split.
        accuracy_search: Accuracy on the search split.
        latency: Predicted, with images per second.
        test: How the test split is answered; for any k of n in the mean over the sets of boards that may be missing.
    """

    figures: ModeFigures
    accuracy_search: float
    latency: ModeLatency
    test: Rightness


def fused_logits(fusion: Fusion, seen: Seen, *, without: Collection[int | None] = ()) -> Floats:
    """Fuse all sub-models but some: logits (B, C), or of patches (B · P, C)."""
    return fusion.fuse_all([None if k in without else vector for k, vector in enumerate(seen.vectors)])


def assess_modes(
    fusion: Fusion, crew: Crew, *, groups: Groups, search: Seen, test: Seen, needed: int, wanted_mean_ms: float | None
) -> tuple[Assessed, ...]:
    """Score and time fuse, any and route; thresholds are chosen on the search split.

    Images whose pixels have classes are not routed: a picture holds several, and no expert knows them all.

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
    searched, tested = (seen.scored([fused_logits(fusion, seen, without={gate})]) for seen in (search, test))
    fuse = _assessed(
        ModeSaid("fuse", crew.bytes_of(whole)),
        fuse_latency(crew.times(), crew.centre),
        search=searched.accuracy,
        test=tested,
    )
    away = len(whole) - needed
    any_of = _assessed(
        ModeSaid("any", crew.bytes_of(whole), needed=needed),
        any_of_n_latency(crew.times_by_model(are_alone=False), crew.centre, count=needed),
        search=_scored_without(fusion, search, away=away, gate=gate).accuracy,
        test=_scored_without(fusion, test, away=away, gate=gate),
    )
    if len(groups) == 1 or test.pixels is not None:
        return fuse, any_of
    times = crew.times_by_model(are_alone=True)
    route = choose_route(
        [Routes(search.vectors, fusion, groups=groups, first=first) for first in range(len(groups))],
        search.labels,
        mean_of=route_means(times, crew.centre),
        wanted_mean_ms=wanted_mean_ms,
        as_accurate_as=fuse.accuracy_search,
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
    right = ImagesRight(np.asarray(routed == test.labels, np.float32))
    return _assessed(ModeSaid("route", num_bytes, route=route), latency, search=route.top1, test=right)


def _assessed(said: ModeSaid, latency: ModeLatency, *, search: float, test: Rightness) -> Assessed:
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
            top1=test.top1,
            top1_interval=test.top1_interval,
            num_images=test.num_images,
            split="test",
            miou=test.miou,
            miou_interval=test.miou_interval,
        ),
        accuracy_search=search,
        latency=latency,
        test=test,
    )


def _scored_without(fusion: Fusion, seen: Seen, *, away: int, gate: int | None) -> Rightness:
    """Score the sets of ``away`` missing sub-models, in the mean over them."""
    experts = [k for k in range(len(seen.vectors)) if k != gate]
    sets, most = list(itertools.combinations(experts, away)), MAX_SUBSETS if seen.pixels is None else MAX_PIXEL_SUBSETS
    if len(sets) > most:
        chosen = np.random.default_rng(0).choice(len(sets), most, replace=False)
        sets = [sets[k] for k in sorted(chosen)]
    return seen.scored([fused_logits(fusion, seen, without={*without, gate}) for without in sets])
