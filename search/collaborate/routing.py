"""Route images: one sub-model answers alone where it is sure, else the expert of the likeliest group is asked too.

The threshold is chosen on the search split: the most accurate whose mean latency is the one that is wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.modes import RouteStep
from nuwa_search.search.collaborate.grouping import Groups

NUM_THRESHOLDS = 41
"""Thresholds that are tried for each first sub-model: quantiles of its own certainty, 2.5 % of the images apart."""
NEVER_SURE = 1.01
"""A threshold that no probability reaches (``ModeFigures.thresholds``)."""


@dataclass(frozen=True)
class Routed:
    """What became of routed images.

    Args:
        answers: (B,) class of each image.
        asked: (B,) sub-model that was asked second; the first one's place where nobody was.
    """

    answers: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]

    def steps(self, first: int) -> tuple[RouteStep, ...]:
        """Share of the images by whom they were asked of."""
        found, counts = np.unique(self.asked, return_counts=True)
        return tuple(
            RouteStep(int(count) / len(self.asked), (first,) if other == first else (first, int(other)))
            for other, count in zip(found, counts, strict=True)
        )


@dataclass(frozen=True)
class Route:
    """A way to route that was chosen on the search split.

    Args:
        first: Sub-model that is asked first.
        threshold: Least probability at which its answer is taken.
        top1: Share of the search images answered right.
        mean_ms: Predicted mean latency.
        steps: Share of the search images by whom they were asked of.
    """

    first: int
    threshold: float
    top1: float
    mean_ms: float
    steps: tuple[RouteStep, ...]


def route_images(vectors: Sequence[Floats], fusion: Fusion, *, groups: Groups, first: int, threshold: float) -> Routed:
    """Route images whose vectors are all known, as the coordinator would.

    Args:
        vectors: (B, d_i) of each sub-model.
        fusion: Of these sub-models.
        groups: Classes that each sub-model is the expert of.
        first: Sub-model that is asked first. Where it is the expert of the likeliest group itself, its answer stands.
        threshold: Least probability at which its answer is taken.
    """
    chances = _softmax(fusion.alone(first, vectors[first]))
    answers = chances.argmax(axis=1)
    by_group = np.stack([chances[:, list(group)].sum(axis=1) for group in groups], axis=1)
    asked = np.where(chances.max(axis=1) >= threshold, first, by_group.argmax(axis=1))
    present = np.zeros((len(asked), len(groups)), dtype=np.bool_)
    present[:, first] = True
    present[np.arange(len(asked)), asked] = True
    fused = fusion.fuse_all(list(vectors), present=present).argmax(axis=1)
    return Routed(np.where(asked == first, answers, fused), asked)


def choose_route(
    vectors: Sequence[Floats],
    fusion: Fusion,
    labels: npt.NDArray[np.int64],
    *,
    groups: Groups,
    mean_of: Callable[[Sequence[RouteStep]], float],
    wanted_mean_ms: float | None,
) -> Route:
    """Choose whom to ask first and when it is sure, on the search split.

    Args:
        vectors: (B, d_i) of each sub-model on the search split.
        fusion: Of these sub-models.
        labels: (B,).
        groups: Classes that each sub-model is the expert of.
        mean_of: Predicts the mean latency of images that take these ways.
        wanted_mean_ms: Mean latency that is wanted: the most accurate route within it is taken, or the fastest where
            none is. None takes the fastest of the most accurate ones.
    """
    found = [
        _tried(vectors, fusion, labels, groups=groups, first=first, threshold=threshold, mean_of=mean_of)
        for first in range(len(groups))
        for threshold in _thresholds(_softmax(fusion.alone(first, vectors[first])).max(axis=1))
    ]
    if wanted_mean_ms is None:
        return max(found, key=lambda route: (route.top1, -route.mean_ms))
    within = [route for route in found if route.mean_ms <= wanted_mean_ms]
    if not within:
        return min(found, key=lambda route: (route.mean_ms, -route.top1))
    return max(within, key=lambda route: (route.top1, -route.mean_ms))


def _tried(
    vectors: Sequence[Floats],
    fusion: Fusion,
    labels: npt.NDArray[np.int64],
    *,
    groups: Groups,
    first: int,
    threshold: float,
    mean_of: Callable[[Sequence[RouteStep]], float],
) -> Route:
    routed = route_images(vectors, fusion, groups=groups, first=first, threshold=threshold)
    top1 = float((routed.answers == labels).mean())
    steps = routed.steps(first)
    return Route(first, threshold, top1, mean_of(steps), steps)


def _thresholds(certainty: Floats) -> list[float]:
    quantiles = np.quantile(certainty.astype(np.float64), np.linspace(0, 1, NUM_THRESHOLDS))
    return [0.0, *sorted({float(q) for q in quantiles}), NEVER_SURE]


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return chances
