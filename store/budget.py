"""What a budget buys: the best subnet under it, and what a little more or less would change."""

from collections.abc import Sequence

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.database import Database
from nuwa_search.store.query import find_subnets
from nuwa_search.store.records import JsonDict
from nuwa_search.store.wanted import SubnetFilter

# Steps shown on each side of the budget; the whole curve is in the answer anyway.
NUM_STEPS = 3


def explain_budget(
    database: Database,
    *,
    device: str | None = None,
    max_ms: float | None = None,
    classes: Sequence[str] | None = None,
    base: str | None = None,
    measured_only: bool = False,
    num_steps: int = NUM_STEPS,
) -> list[JsonDict]:
    """Tell, for each device and task, what a budget buys.

    Args:
        database: The store.
        device: Name or id of a device; None for every device.
        max_ms: The budget in milliseconds; None for no limit, where the best is the most accurate.
        classes: Exactly these classes; None for every task.
        base: Name or id of a base; None for all.
        measured_only: Whether subnets whose latency is only predicted are left out.
        num_steps: Steps of the Pareto front to tell on each side of the budget.

    Returns:
        One answer per device and task: ``device``, ``device_id``, ``task_id``, ``classes``, ``max_ms``;
        ``best``, the most accurate subnet under the budget, None if none is that fast; ``steps_up``,
        the next points of the front above the budget, nearest first; ``steps_down``, those that are
        faster than the best; ``curve``, the whole front by latency. Each step says how many
        milliseconds and how much accuracy it is away from the best (``extra_ms``, ``extra_top1``,
        None where there is no best).

    Raises:
        NuwaError: If the budget is not a positive number.
    """
    if max_ms is not None and not 0 < max_ms < float("inf"):
        raise NuwaError(
            f"a budget needs to be a positive number of milliseconds, found {max_ms}", hint="such as --max-ms 30"
        )
    wanted = SubnetFilter(device=device, classes=classes, base=base, measured_only=measured_only)
    groups: dict[tuple[str, str], list[JsonDict]] = {}
    for row in find_subnets(database, wanted, pareto=True, sort="latency"):
        groups.setdefault((row["device_id"], row["task_id"]), []).append(row)
    return [_explain(curve, max_ms, num_steps) for curve in groups.values()]


def latency_of(row: JsonDict) -> float:
    """Pick the latency that queries go by: measured, or predicted where none was measured."""
    measured = row["measured_latency_ms"]
    return float(row["predicted_latency_ms"] if measured is None else measured)


def _explain(curve: list[JsonDict], max_ms: float | None, num_steps: int) -> JsonDict:
    under = [row for row in curve if max_ms is None or latency_of(row) <= max_ms]
    best = under[-1] if under else None
    above = _without_ties(curve[len(under) :])[:num_steps]
    below = _without_ties(under)[:-1][::-1][:num_steps]
    first = curve[0]
    return {
        "device": first["device"],
        "device_id": first["device_id"],
        "task_id": first["task_id"],
        "classes": first["classes"],
        "max_ms": max_ms,
        "best": best,
        "steps_up": [_step(row, best) for row in above],
        "steps_down": [_step(row, best) for row in below],
        "curve": curve,
    }


def _without_ties(curve: list[JsonDict]) -> list[JsonDict]:
    """Keep one of the subnets that are equal in latency and accuracy: a step changes something."""
    kept: list[JsonDict] = []
    for row in curve:
        if not kept or (latency_of(kept[-1]), kept[-1]["top1"]) != (latency_of(row), row["top1"]):
            kept.append(row)
    return kept


def _step(row: JsonDict, best: JsonDict | None) -> JsonDict:
    return row | {
        "extra_ms": None if best is None else latency_of(row) - latency_of(best),
        "extra_top1": None if best is None else row["top1"] - best["top1"],
    }
