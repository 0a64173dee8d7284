"""What a budget buys: the best subnet under it, and what a little more or less would change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.store.database import Database
from nuwa_search.store.query import Subnets
from nuwa_search.store.wanted import SubnetFilter

Row = Mapping[str, Any]

# Steps shown on each side of the budget; the whole curve is in the answer anyway.
NUM_STEPS = 3


@dataclass(frozen=True)
class BudgetAnswer(JsonFields):
    """What a budget buys on one device for one task; subnets are rows of ``store.subnets.find``.

    Args:
        device: Its name.
        device_id: Its id.
        task_id: The task's.
        classes: The task's.
        max_ms: The budget in milliseconds; None for no limit, where the best is the most accurate.
        best: The most accurate subnet under the budget; None if none is that fast.
        steps_up: The next points of the front above the budget, nearest first. Like ``steps_down`` they say how many
            milliseconds and how much accuracy they are away from the best (``extra_ms``, ``extra_top1``, None where
            there is no best).
        steps_down: Those that are faster than the best.
        curve: The whole front by latency.
    """

    device: str
    device_id: str
    task_id: str
    classes: tuple[str, ...]
    max_ms: float | None
    best: Row | None
    steps_up: tuple[Row, ...]
    steps_down: tuple[Row, ...]
    curve: tuple[Row, ...]


def explain_budget(
    database: Database,
    *,
    device: str | None = None,
    max_ms: float | None = None,
    classes: Sequence[str] | None = None,
    base: str | None = None,
    measured_only: bool = False,
    num_steps: int = NUM_STEPS,
) -> list[BudgetAnswer]:
    """Tell, for each device and task, what a budget buys.

    Args:
        database: The store.
        device: Name or id of a device; None for every device.
        max_ms: The budget in milliseconds; None for no limit.
        classes: Exactly these classes; None for every task.
        base: Name or id of a base; None for all.
        measured_only: Whether subnets whose latency is only predicted are left out.
        num_steps: Steps of the Pareto front to tell on each side of the budget.

    Raises:
        NuwaError: If the budget is not a positive number.
    """
    if max_ms is not None and not 0 < max_ms < float("inf"):
        raise NuwaError(
            f"a budget needs to be a positive number of milliseconds, found {max_ms}", hint="such as --max-ms 30"
        )
    wanted = SubnetFilter(device=device, classes=classes, base=base, measured_only=measured_only)
    fronts: dict[tuple[str, str], list[_Point]] = {}
    for row in Subnets(database).find(wanted, pareto=True, sort="latency"):
        top1, device_id = row["top1"], row["device_id"]
        if top1 is None or device_id is None:  # no front holds such a row
            continue
        fronts.setdefault((device_id, row["task_id"]), []).append(_Point(row, latency_of(row), top1))
    return [_explain(front, max_ms, num_steps) for front in fronts.values()]


def latency_of(row: Row) -> float:
    """Pick the latency that queries go by: measured, or predicted where none was measured."""
    measured = row["measured_latency_ms"]
    return float(row["predicted_latency_ms"] if measured is None else measured)


@dataclass(frozen=True)
class _Point:
    """A subnet on a front."""

    row: Row
    latency_ms: float
    top1: float

    def step_from(self, best: "_Point | None") -> Row:
        return {
            **self.row,
            "extra_ms": None if best is None else self.latency_ms - best.latency_ms,
            "extra_top1": None if best is None else self.top1 - best.top1,
        }


def _explain(front: Sequence[_Point], max_ms: float | None, num_steps: int) -> BudgetAnswer:
    under = [point for point in front if max_ms is None or point.latency_ms <= max_ms]
    best = under[-1] if under else None
    above = _without_ties(front[len(under) :])[:num_steps]
    below = _without_ties(under)[:-1][::-1][:num_steps]
    first = front[0].row
    return BudgetAnswer(
        device=first["device"],
        device_id=first["device_id"],
        task_id=first["task_id"],
        classes=tuple(first["classes"]),
        max_ms=max_ms,
        best=None if best is None else best.row,
        steps_up=tuple(point.step_from(best) for point in above),
        steps_down=tuple(point.step_from(best) for point in below),
        curve=tuple(point.row for point in front),
    )


def _without_ties(front: Sequence[_Point]) -> list[_Point]:
    """Keep one of the subnets that are equal in latency and accuracy: a step changes something."""
    kept: list[_Point] = []
    for point in front:
        if not kept or (kept[-1].latency_ms, kept[-1].top1) != (point.latency_ms, point.top1):
            kept.append(point)
    return kept
