"""Latency of an image, and images per second, for each way to use several boards.

Latency of one image is the slowest board's image, compute and answer, then the fusion (DeViT, arXiv 2309.05015); the
median of a maximum of times that vary lies above the maximum of their medians, which is why times are spreads here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.collaboration.spread import (
    ShareDone,
    Spread,
    all_of,
    any_of,
    mean_ms,
    mixture,
    quantile_ms,
)

LEAST_MS = 1e-6
"""A board that takes no time at all still answers a finite number of images."""


@dataclass(frozen=True)
class BoardTimes:
    """One board's part in an image.

    Args:
        compute: Its sub-models, one after another.
        together: Image there and answer back, while all boards are sent to.
        alone: The same while it is the only one.
        wire_ms: Milliseconds that its link is busy in the busier direction, for each image.
        message_ms: Milliseconds that its program takes to read an image and send the answer, beside the compute.
    """

    compute: Spread
    together: Spread
    alone: Spread
    wire_ms: float
    message_ms: float = 0.0

    @property
    def answer(self) -> Spread:
        """From an image at the coordinator to this board's answer there, while all boards are asked."""
        return self.compute.then(self.together)

    @property
    def answer_alone(self) -> Spread:
        """The same while it is the only one asked."""
        return self.compute.then(self.alone)

    @property
    def busy_ms(self) -> float:
        """Milliseconds that the busier of board and link is taken by an image of a stream: the mean, as times add."""
        return max(self.compute.mean_ms + self.message_ms, self.wire_ms)


@dataclass(frozen=True)
class ModeLatency:
    """What a way to use the boards is predicted to take.

    Args:
        p50_ms: Median over images.
        p95_ms: 95th percentile over images.
        mean_ms: Mean over images.
        images_per_s: Of a stream, images following each other without waiting for answers.
    """

    p50_ms: float
    p95_ms: float
    mean_ms: float
    images_per_s: float


@dataclass(frozen=True)
class RouteStep:
    """One way that an image may take when it is routed.

    Args:
        share: Of the images.
        rounds: Boards by place: those of one round are asked at once, the next round when all of them answered.
    """

    share: float
    rounds: tuple[tuple[int, ...], ...]

    @property
    def boards(self) -> tuple[int, ...]:
        """Everybody who is asked."""
        return tuple(board for one in self.rounds for board in one)


@dataclass(frozen=True)
class Centre:
    """The coordinator's part in an image.

    Args:
        fusion_ms: Of joining the answers.
        wire_ms: Milliseconds that its own link is busy in the busier direction, where every board is asked.
        program_ms: Milliseconds that its program takes to send to every board and to read the answers.
    """

    fusion_ms: float
    wire_ms: float = 0.0
    program_ms: float = 0.0


def fuse_latency(boards: Sequence[BoardTimes], centre: Centre) -> ModeLatency:
    """Every board answers every image."""
    return any_of_n_latency(boards, centre, count=len(boards))


def any_of_n_latency(boards: Sequence[BoardTimes], centre: Centre, *, count: int) -> ModeLatency:
    """Every board is asked, and the first ``count`` answers are fused.

    Raises:
        NuwaError: If ``count`` is no number of boards.
    """
    if not 1 <= count <= len(boards):
        raise NuwaError(f"of {len(boards)} boards {count} cannot answer", hint=f"give 1 to {len(boards)}")
    answers = [board.answer for board in boards]
    done = all_of(answers) if count == len(boards) else any_of(answers, count)
    busy_ms = max(centre.wire_ms, centre.program_ms + centre.fusion_ms, *(board.busy_ms for board in boards))
    return _told(done, boards, centre, busy_ms=busy_ms)


def route_latency(
    boards: Sequence[BoardTimes], centre: Centre, *, steps: Sequence[RouteStep], owners: Sequence[int] | None = None
) -> ModeLatency:
    """One board is asked first, and others only where it was not sure.

    Args:
        boards: Those that may be asked; several entries may be one board with several sub-models.
        centre: The coordinator.
        steps: Whom images are asked of, by place.
        owners: Board of each entry; None where each is its own.

    Raises:
        NuwaError: If the shares do not sum to 1, or a step asks nobody.
    """
    total = sum(step.share for step in steps)
    if abs(total - 1) > 1e-6 or any(not step.boards for step in steps):
        raise NuwaError(f"the ways of routed images must sum to 1 and ask a board each, found {total:g}")
    parts, busy_ms = [], [0.0] * len(boards)
    for step in steps:
        way = Spread(0.0, 0.0)
        for one in step.rounds:
            way = way.then(_round(boards, one))
        for place in step.boards:
            busy_ms[place if owners is None else owners[place]] += step.share * boards[place].busy_ms
        parts.append((step.share, all_of([way])))
    asked = sum(step.share * len(step.boards) for step in steps) / len(boards)
    busiest_ms = max(asked * centre.wire_ms, asked * centre.program_ms + centre.fusion_ms, *busy_ms)
    mean = route_mean_ms(boards, Centre(0.0), steps=steps)
    return _told(mixture(parts), boards, centre, busy_ms=busiest_ms, mean=mean)


def route_mean_ms(boards: Sequence[BoardTimes], centre: Centre, *, steps: Sequence[RouteStep]) -> float:
    """Mean latency of routed images, alone."""
    return route_means(boards, centre)(steps)


def route_means(boards: Sequence[BoardTimes], centre: Centre) -> Callable[[Sequence[RouteStep]], float]:
    """Return what thresholds are tried by: the mean latency of routed images, each round worked out once."""

    @cache
    def round_ms(asked: tuple[int, ...]) -> float:
        return _round(boards, asked).mean_ms

    def mean_of(steps: Sequence[RouteStep]) -> float:
        ways = [math.fsum(round_ms(tuple(asked)) for asked in step.rounds) for step in steps]
        return math.fsum(step.share * way for step, way in zip(steps, ways, strict=True)) + centre.fusion_ms

    return mean_of


def _round(boards: Sequence[BoardTimes], asked: Sequence[int]) -> Spread:
    """Time of the last of those that are asked at once."""
    if len(asked) == 1:
        return boards[asked[0]].answer_alone
    answers = [boards[place].answer for place in asked]
    if all(one.is_fixed for one in answers):
        return max(answers, key=lambda one: one.p50_ms)
    done, most_ms = all_of(answers), sum(one.p95_ms for one in answers) + 1.0
    return Spread(quantile_ms(done, 0.5, most_ms=most_ms), quantile_ms(done, 0.95, most_ms=most_ms))


def _told(
    done: ShareDone, boards: Sequence[BoardTimes], centre: Centre, *, busy_ms: float, mean: float | None = None
) -> ModeLatency:
    most_ms = sum(board.answer.p95_ms for board in boards) + 1.0
    return ModeLatency(
        p50_ms=quantile_ms(done, 0.5, most_ms=most_ms) + centre.fusion_ms,
        p95_ms=quantile_ms(done, 0.95, most_ms=most_ms) + centre.fusion_ms,
        mean_ms=(mean_ms(done, most_ms=most_ms) if mean is None else mean) + centre.fusion_ms,
        images_per_s=1000 / max(busy_ms, LEAST_MS),
    )
