"""Two stored subnets side by side, and what is different between them."""

from dataclasses import dataclass
from typing import Any

from nuwa_search.core.block_parts import BlockPart
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.search.best_accuracy import BestAccuracy
from nuwa_search.search.compared_subnet import ComparedLatency, ComparedSubnet, compared_subnet
from nuwa_search.store.store import Store

_WIDTHS = ("num_heads", "qk_dim", "v_dim", "mlp_width")


@dataclass(frozen=True, kw_only=True)
class BlockDifference(JsonFields):
    """A block that is not the same in both: ``fields`` of a block's entry that differ."""

    index: int
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LatencyDifference(JsonFields):
    """Latencies on a device that both are known on; of the second less the first.

    Args:
        device: Its name.
        difference_ms: Milliseconds.
        ratio: The second's over the first's.
        is_alike: Whether both were run, or both were predicted; else one figure is compared with another kind.
        is_equal: Whether the predicted intervals overlap, where both were only predicted; None where one was run.
    """

    device: str
    difference_ms: float
    ratio: float
    is_alike: bool
    is_equal: bool | None


@dataclass(frozen=True, kw_only=True)
class AccuracyDifference(JsonFields):
    """Accuracies on the same images; of the second less the first.

    Args:
        difference: A fraction.
        is_equal: Whether one lies in the interval of the other.
    """

    difference: float
    is_equal: bool


@dataclass(frozen=True, kw_only=True)
class Differences(JsonFields):
    """What is different.

    Args:
        is_same_base: Whether both were cut from one base.
        is_same_task: Whether for the same images and classes.
        accuracy: None where the accuracies are not of the same images, which ``no_accuracy`` tells.
        no_accuracy: Why accuracies are not compared; empty where they are.
        latencies: Per device that both are known on.
        params: Parameters of the second less those of the first.
        macs: MACs of the second less those of the first.
        blocks: Those that are not the same.
    """

    is_same_base: bool
    is_same_task: bool
    accuracy: AccuracyDifference | None
    no_accuracy: str
    latencies: tuple[LatencyDifference, ...]
    params: int
    macs: int
    blocks: tuple[BlockDifference, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison(JsonFields):
    """Two subnets and their differences: the `nuwa.compare/1` answer without its schema."""

    subnets: tuple[ComparedSubnet, ComparedSubnet]
    differences: Differences

    def document(self) -> dict[str, Any]:
        """Render the answer with its schema."""
        return {"schema": "nuwa.compare/1", **self.to_json()}


def compare_subnets(first_id: str, second_id: str, store: Store) -> Comparison:
    """Compare two stored subnets.

    Raises:
        NuwaError: If the database does not know one of them.
    """
    first, second = compared_subnet(first_id, store), compared_subnet(second_id, store)
    reason = _why_not(first, second)
    mine, theirs = first.accuracy, second.accuracy
    return Comparison(
        subnets=(first, second),
        differences=Differences(
            is_same_base=first.base_id == second.base_id,
            is_same_task=first.task_id == second.task_id,
            accuracy=_accuracy(mine, theirs) if mine is not None and theirs is not None and not reason else None,
            no_accuracy=reason,
            latencies=tuple(_latencies(first, second)),
            params=second.params - first.params,
            macs=second.macs - first.macs,
            blocks=tuple(_blocks(first.blocks, second.blocks)),
        ),
    )


def _why_not(first: ComparedSubnet, second: ComparedSubnet) -> str:
    """Return why two accuracies cannot be compared, such as other images; empty where they can."""
    mine, theirs = first.accuracy, second.accuracy
    if mine is None or theirs is None:
        return "one of them has no accuracy" if (mine is None) != (theirs is None) else "neither has an accuracy"
    if first.task_id != second.task_id:
        return "they are for two tasks"
    if mine.metric != theirs.metric:
        return f"one is {mine.metric}, the other {theirs.metric}"
    if mine.split != theirs.split:
        return f"one is on the {mine.split} split, the other on the {theirs.split} split"
    if mine.num_images != theirs.num_images:
        return f"one is on {mine.num_images} images, the other on {theirs.num_images}"
    return ""


def _accuracy(mine: BestAccuracy, theirs: BestAccuracy) -> AccuracyDifference:
    inside = [
        interval is not None and interval[0] <= value <= interval[1]
        for interval, value in ((mine.interval, theirs.value), (theirs.interval, mine.value))
    ]
    return AccuracyDifference(difference=theirs.value - mine.value, is_equal=mine.value == theirs.value or any(inside))


def _latencies(first: ComparedSubnet, second: ComparedSubnet) -> list[LatencyDifference]:
    theirs = {one.device_id: one for one in second.latencies}
    pairs = [(one, theirs[one.device_id]) for one in first.latencies if one.device_id in theirs]
    return [found for a, b in pairs if (found := _latency(a, b)) is not None]


def _latency(mine: ComparedLatency, theirs: ComparedLatency) -> LatencyDifference | None:
    if mine.latency_ms is None or theirs.latency_ms is None:
        return None
    are_run = [one.measured_latency_ms is not None for one in (mine, theirs)]
    low, high = mine.predicted_interval_ms, theirs.predicted_interval_ms
    overlap = None if any(are_run) or not low or not high else low[0] <= high[1] and high[0] <= low[1]
    return LatencyDifference(
        device=mine.device,
        difference_ms=theirs.latency_ms - mine.latency_ms,
        ratio=theirs.latency_ms / mine.latency_ms,
        is_alike=are_run[0] == are_run[1],
        is_equal=overlap,
    )


def _blocks(mine: tuple[BlockPart, ...], theirs: tuple[BlockPart, ...]) -> list[BlockDifference]:
    """Compare the blocks at the same place; one that only one of the bases has differs in all fields."""
    found = []
    for index in range(max(len(mine), len(theirs))):
        pair = [blocks[index] if index < len(blocks) else None for blocks in (mine, theirs)]
        a, b = pair
        names = [n for n in _WIDTHS if a is None or b is None or getattr(a, n) != getattr(b, n)]
        if names:
            found.append(BlockDifference(index=index, fields=tuple(names)))
    return found
