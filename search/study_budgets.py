"""Every device that a stored search was for, with its budget there, in the order in which they were asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from nuwa_search.search.device_budget import DeviceBudget, budgets_from_texts


def budgets_of_study(settings: Mapping[str, Any], *, device: str, budget_ms: float | None) -> tuple[DeviceBudget, ...]:
    """List the budgets of a search.

    Args:
        settings: Its request as JSON; further budgets are in ``more_budgets``, which older searches do not have.
        device: Name of its first device.
        budget_ms: Milliseconds at most there; None where nothing says it.
    """
    first = () if budget_ms is None else (DeviceBudget(budget_ms, device),)
    return (*first, *budgets_from_texts(tuple(settings.get("more_budgets") or ())))


def budget_parts(budgets: Sequence[DeviceBudget]) -> list[dict[str, Any]]:
    """Render the ``budgets`` of a search as JSON: one entry per device, the first that was asked for first."""
    return [{"device": one.device, "budget_ms": one.budget_ms} for one in budgets]


def with_budgets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add ``budgets`` to rows of searches, as their last column."""
    return [
        {
            **row,
            "budgets": budget_parts(
                budgets_of_study(row["settings"], device=row["device"], budget_ms=row["budget_ms"])
            ),
        }
        for row in rows
    ]
