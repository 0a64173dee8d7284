"""What a budget buys: the best subnet under it, and what a little more or less would change."""

from collections.abc import Sequence

from nuwa.errors import NuwaError
from nuwa.store.database import Database
from nuwa.store.query import find_subnets
from nuwa.store.records import JsonDict
from nuwa.store.wanted import SubnetFilter

# Steps shown on each side of the budget; the whole curve is in the answer anyway.
NUM_STEPS = 3


def explain_budget(
    database: Database,
    *,
    device: str,
    max_ms: float,
    classes: Sequence[str] | None = None,
    base: str | None = None,
    num_steps: int = NUM_STEPS,
) -> list[JsonDict]:
    """Tell, for each task known on a device, what a budget buys.

    Args:
        database: The store.
        device: Name or id of a device.
        max_ms: The budget in milliseconds.
        classes: Exactly these classes; None for every task.
        base: Name or id of a base; None for all.
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
    if not 0 < max_ms < float("inf"):
        raise NuwaError(f"a budget needs to be a positive number of milliseconds, found {max_ms}")
    wanted = SubnetFilter(device=device, classes=classes, base=base)
    groups: dict[tuple[str, str], list[JsonDict]] = {}
    for row in find_subnets(database, wanted, pareto=True, sort="latency"):
        groups.setdefault((row["device_id"], row["task_id"]), []).append(row)
    return [_explain(curve, max_ms, num_steps) for curve in groups.values()]


def latency_of(row: JsonDict) -> float:
    """Pick the latency that queries go by: measured, or predicted where none was measured."""
    measured = row["measured_latency_ms"]
    return float(row["predicted_latency_ms"] if measured is None else measured)


def _explain(curve: list[JsonDict], max_ms: float, num_steps: int) -> JsonDict:
    under = [row for row in curve if latency_of(row) <= max_ms]
    best = under[-1] if under else None
    above = curve[len(under) : len(under) + num_steps]
    below = under[:-1][::-1][:num_steps]
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


def _step(row: JsonDict, best: JsonDict | None) -> JsonDict:
    return row | {
        "extra_ms": None if best is None else latency_of(row) - latency_of(best),
        "extra_top1": None if best is None else row["top1"] - best["top1"],
    }
