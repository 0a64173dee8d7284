"""Route images: one sub-model answers alone where it is sure, else the expert of the likeliest group is asked too.

Where the two together are not sure either, the rest is asked; so is everybody at once where the first is not sure and
is that expert itself, or where no pair is held to be sure. The thresholds are chosen on the search split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.modes import RouteStep
from nuwa_search.search.collaborate.grouping import Groups

NUM_THRESHOLDS = 21
"""Thresholds that are tried for each first sub-model and each pair: quantiles of their certainty, 5 % of the images
apart."""
NEVER_SURE = 1.01
"""A threshold that no probability reaches (``ModeFigures.thresholds``)."""

Thresholds = tuple[float, float, float]
"""Of the first alone, of it with the expert, and of the first where it is the expert itself."""


@dataclass(frozen=True)
class Route:
    """A way to route that was chosen on the search split.

    Args:
        first: Sub-model that is asked first.
        thresholds: Least probability at which its answer is taken, that of the two together, and that of the first
            where it is the expert of the likeliest group itself.
        top1: Share of the search images answered right.
        mean_ms: Predicted mean latency.
        steps: Share of the search images by whom they were asked of.
    """

    first: int
    thresholds: Thresholds
    top1: float
    mean_ms: float
    steps: tuple[RouteStep, ...]


class Routes:
    """What becomes of images that a sub-model meets first, for any thresholds; as ``deploy.collaborate.decide`` does.

    Args:
        vectors: (B, d_i) of each sub-model.
        fusion: Fusion of these sub-models.
        groups: Classes that each sub-model is the expert of; a gate has none.
        first: Sub-model that is asked first.
    """

    def __init__(self, vectors: Sequence[Floats], fusion: Fusion, *, groups: Groups, first: int) -> None:
        self.first, num_models = first, len(groups)
        self._others = tuple(k for k in range(num_models) if k != first and groups[k])
        gates = [k for k in range(num_models) if k != first and not groups[k]]
        chances = _softmax(fusion.alone(first, vectors[first]))
        by_group = np.stack([chances[:, list(group)].sum(axis=1) for group in groups], axis=1)
        self.expert = by_group.argmax(axis=1)
        present = np.zeros((len(chances), len(groups)), dtype=np.bool_)
        present[:, first] = True
        present[np.arange(len(chances)), self.expert] = True
        pair = _softmax(fusion.fuse_all(list(vectors), present=present))
        self._sure = chances.max(axis=1), pair.max(axis=1)
        every = fusion.fuse_all([None if k in gates else vector for k, vector in enumerate(vectors)])
        self._answers = chances.argmax(axis=1), pair.argmax(axis=1), every.argmax(axis=1)

    def thresholds(self) -> list[Thresholds]:
        """List thresholds that are worth trying: of its own group the first is as sure as of others, or believed."""
        alone, together = (_quantiles(sure) for sure in self._sure)
        return [(one, other, own) for one in alone for other in together for own in {one, 0.0}]

    def asked(self, thresholds: Thresholds) -> npt.NDArray[np.int64]:
        """Say whom each image (B,) is asked of: 1 the first alone, 2 its expert too, 3 then the rest, 4 all at once."""
        alone, together, own = thresholds
        is_own = self.expert == self.first
        is_alone = self._sure[0] >= np.where(is_own, own, alone)
        is_pair = (self._sure[1] >= together) | (len(self._others) == 1)
        in_turn = np.where(is_pair, 2, 4 if together > 1 else 3)
        counts: npt.NDArray[np.int64] = np.where(is_alone, 1, np.where(is_own, 4, in_turn))
        return counts

    def answers(self, thresholds: Thresholds) -> npt.NDArray[np.int64]:
        """Class of each image (B,)."""
        asked = self.asked(thresholds)
        found: npt.NDArray[np.int64] = np.choose(np.minimum(asked, 3) - 1, self._answers)
        return found

    def steps(self, thresholds: Thresholds) -> tuple[RouteStep, ...]:
        """Share of the images by whom they are asked of."""
        asked, first, total = self.asked(thresholds), (self.first,), len(self.expert)
        ways = [(asked == 1, (first,)), (asked == 4, (first, self._others))]
        for expert in self._others:
            rest = tuple(k for k in self._others if k != expert)
            for count, rounds in ((2, (first, (expert,))), (3, (first, (expert,), rest))):
                ways.append(((asked == count) & (self.expert == expert), rounds))
        return tuple(RouteStep(int(taken.sum()) / total, rounds) for taken, rounds in ways if taken.any())


def choose_route(
    seen: Sequence[Routes],
    labels: npt.NDArray[np.int64],
    *,
    mean_of: Callable[[Sequence[RouteStep]], float],
    wanted_mean_ms: float | None,
    as_accurate_as: float,
) -> Route:
    """Choose whom to ask first and when it is sure, on the search split.

    Args:
        seen: The search split, met first by each sub-model.
        labels: (B,).
        mean_of: Predicts the mean latency of images that take these ways.
        wanted_mean_ms: Mean latency that is wanted: the most accurate route within it is taken, or the fastest where
            none is. None takes the fastest that is as accurate as is asked, or the most accurate where none is.
        as_accurate_as: Share of the images answered right that is asked for where no mean latency is.
    """
    found = [_tried(routes, labels, thresholds, mean_of) for routes in seen for thresholds in routes.thresholds()]
    if wanted_mean_ms is None:
        good = [route for route in found if route.top1 >= as_accurate_as]
        return _fastest(good) if good else _best(found)
    within = [route for route in found if route.mean_ms <= wanted_mean_ms]
    return _best(within) if within else _fastest(found)


def _fastest(routes: Sequence[Route]) -> Route:
    return min(routes, key=lambda route: (route.mean_ms, -route.top1))


def _best(routes: Sequence[Route]) -> Route:
    return max(routes, key=lambda route: (route.top1, -route.mean_ms))


def _tried(
    routes: Routes,
    labels: npt.NDArray[np.int64],
    thresholds: Thresholds,
    mean_of: Callable[[Sequence[RouteStep]], float],
) -> Route:
    steps = routes.steps(thresholds)
    top1 = float((routes.answers(thresholds) == labels).mean())
    return Route(routes.first, thresholds, top1, mean_of(steps), steps)


def _quantiles(certainty: Floats) -> list[float]:
    quantiles = np.quantile(certainty.astype(np.float64), np.linspace(0, 1, NUM_THRESHOLDS))
    return [*sorted({float(q) for q in quantiles}), NEVER_SURE]


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return chances
