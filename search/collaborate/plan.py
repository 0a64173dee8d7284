"""Plan a decomposition: which device searches which sub-model under which budget of its own."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.device import DeviceSpec, LatencyStats
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.deploy.collaborate.network import Network, ways_ms
from nuwa_search.predictors.collaboration.spread import Spread
from nuwa_search.search.collaborate.placement import PlacementProblem, place_models

FUSION_MS = 0.2
"""Left for the fusion on the coordinator: an allowance, measured on no board. ``Fusion.fuse`` of four vectors of 192
numbers and 100 classes took 0.05 ms in the median of 2 000 on one core of a Xeon, 0.07 ms at the 95th percentile."""
PATCH_VALUE_MS = 3.6e-5
"""Left beside it for each number of patches' scores: four times what ``Fusion.fuse_all`` took for one on the same core,
7 to 9 ns in the median of 1 000 fusions of four boards' 1 024 patches of 19 and 60 classes."""
_STEPS = 2**20
"""Steps of a budget that are told apart: a ten-thousandth of a millisecond of 100 ms."""


@dataclass(frozen=True)
class PlannedBoard:
    """One device of a decomposition.

    Args:
        name: Of this one; ``jetson-nano-2`` is the second of its kind.
        spec: Spec of the device.
        base_ms: What the whole base takes on it, with the head of the task.
        vector_ms: Median of the base that answers with its vector.
    """

    name: str
    spec: DeviceSpec
    base_ms: LatencyStats
    vector_ms: float

    @property
    def vector_cost_ms(self) -> float:
        """What answering with a vector costs more than with scores of classes, which a search measures."""
        return max(0.0, self.vector_ms - self.base_ms.median)

    @property
    def tail(self) -> float:
        """95th percentile over median, as the base had it."""
        return max(1.0, self.base_ms.p95 / self.base_ms.median)


@dataclass(frozen=True)
class Slot:
    """One sub-model to be searched.

    Args:
        board: Place of the board that it is searched for.
        budget_ms: Budget in milliseconds of its median latency alone.
    """

    board: int
    budget_ms: float


def fusion_allowance_ms(num_patch_values: int) -> float:
    """Return what is left for the fusion on the coordinator, in milliseconds.

    Args:
        num_patch_values: Numbers that all boards together send of patches; 0 where they send vectors.
    """
    return _rounded(FUSION_MS + num_patch_values * PATCH_VALUE_MS)


def board_names(devices: Sequence[str]) -> tuple[str, ...]:
    """Name boards by their devices, numbered where there are several of a kind; other characters become hyphens."""
    plain = ["".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:60] for name in devices]
    seen: dict[str, int] = {}
    names = []
    for name in plain:
        seen[name] = seen.get(name, 0) + 1
        names.append(f"{name}-{seen[name]}" if plain.count(name) > 1 else name)
    return tuple(names)


def plan_slots(
    boards: Sequence[PlannedBoard],
    network: Network,
    *,
    budget_ms: float,
    image_bytes: int,
    vector_dim: int,
    num_models: int,
    fusion_ms: float = FUSION_MS,
) -> tuple[Slot, ...]:
    """Share sub-models out over the boards by their speed, and give each its own budget.

    A board's sub-models must be done, with image and answers on the wire, before the budget less the fusion; where n
    boards answer, each within it for the n-th root of a half of the images, all of them are for a half.

    Args:
        boards: The devices.
        network: Between them and the coordinator.
        budget_ms: End to end.
        image_bytes: Sent to each board for an image; 0 where they have cameras.
        vector_dim: Numbers of an answer.
        num_models: Sub-models.
        fusion_ms: Left for the fusion.

    Returns:
        One slot for each sub-model, in the order of the boards.

    Raises:
        NoAnswerError: If network and fusion take the whole budget.
    """
    places = place_models(
        PlacementProblem(
            compute_ms=((*(board.base_ms.median for board in boards),),) * num_models,
            memory_mb=((0.0,) * len(boards),) * num_models,
            room_mb=(None,) * len(boards),
            transfer_ms=(0.0,) * len(boards),
        )
    ).places
    counts = [max(1, places.count(place)) for place in range(len(boards))]
    while sum(counts) > num_models:  # every board has one: the one of most gives up what the placement left a slow one
        counts[counts.index(max(counts))] -= 1
    ways = ways_ms(
        network,
        [board.name for board in boards],
        image_bytes=image_bytes,
        vector_bytes=[4 * vector_dim * count for count in counts],
    )
    slots = []
    for place, (board, count, way_ms) in enumerate(zip(boards, counts, ways, strict=True)):
        link = network.link(board.name)
        way = Spread(way_ms, way_ms + (link.rtt_p95_ms - link.rtt_p50_ms))
        own_ms = _own_budget(board, way, within_ms=budget_ms - fusion_ms, share=0.5 ** (1 / len(boards)))
        own_ms -= count * board.vector_cost_ms
        if own_ms <= 0:
            raise NoAnswerError(
                f"of {budget_ms:g} ms end to end {way_ms:.2f} ms go to the network of {board.name} and "
                f"{fusion_ms:g} ms to the fusion: nothing is left for a sub-model",
                hint=f"one board alone: nuwa search --budget-ms {budget_ms:g} --device {board.spec.name}",
            )
        slots += [Slot(place, _rounded(own_ms / count))] * count
    return tuple(slots)


def _own_budget(board: PlannedBoard, way: Spread, *, within_ms: float, share: float) -> float:
    """Find the largest median compute with which ``share`` of the images are answered in time, or 0."""

    def is_late(step: int) -> bool:
        compute_ms = within_ms * step / _STEPS
        return Spread(compute_ms, board.tail * compute_ms).then(way).share_done(within_ms) < share

    if within_ms <= 0 or is_late(1):
        return 0.0
    step = bisect.bisect_left(range(1, _STEPS + 1), True, key=is_late)
    return _rounded(within_ms * step / _STEPS)


def _rounded(ms: float) -> float:
    """Round down to a ten-thousandth, so that a study's budget reads well."""
    return math.floor(ms * 1e4) / 1e4


def slots_with_first(slots: Sequence[Slot], boards: Sequence[PlannedBoard], *, first_share: float) -> tuple[Slot, ...]:
    """Give the sub-model of most room a share of its budget only: it is the one that routed images meet first."""
    if first_share == 1.0:
        return tuple(slots)
    first = max(range(len(slots)), key=lambda k: (slots[k].budget_ms / boards[slots[k].board].base_ms.median, -k))
    return tuple(
        Slot(slot.board, _rounded(slot.budget_ms * first_share)) if k == first else slot for k, slot in enumerate(slots)
    )
