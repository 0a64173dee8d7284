"""The answers of the database as pandas tables; importing this module imports pandas."""

from collections.abc import Sequence

import pandas as pd

from nuwa_search.store.database import Database
from nuwa_search.store.query import find_subnets
from nuwa_search.store.sql import run_sql
from nuwa_search.store.subnet_columns import COLUMNS
from nuwa_search.store.wanted import SubnetFilter


def query_subnets(
    database: Database,
    *,
    device: str | None = None,
    max_ms: float | None = None,
    min_top1: float | None = None,
    classes: Sequence[str] | None = None,
    base: str | None = None,
    measured_only: bool = False,
    pareto: bool = False,
    sort: str = "top1",
    limit: int | None = None,
) -> pd.DataFrame:
    """List subnets as ``nuwa_search.store.query.find_subnets`` does, one row per subnet and device.

    Args:
        database: The store.
        device: Name or id of a device.
        max_ms: Largest latency in milliseconds.
        min_top1: Smallest accuracy, a fraction.
        classes: Exactly these classes, in any order.
        base: Name or id of a base.
        measured_only: Whether subnets whose latency is only predicted are left out.
        pareto: Keep only those that no other one of the same device and task beats.
        sort: ``top1``, ``latency``, ``macs``, ``params`` or ``newest``.
        limit: At most so many rows; None for all.

    Returns:
        The columns of ``COLUMNS``, always in this order, also when no row is found.

    Raises:
        NuwaError: If ``sort`` is not known.
    """
    wanted = SubnetFilter(
        device=device, max_ms=max_ms, min_top1=min_top1, classes=classes, base=base, measured_only=measured_only
    )
    rows = find_subnets(database, wanted, pareto=pareto, sort=sort, limit=limit)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def query_sql(database: Database, query: str) -> pd.DataFrame:
    """Run a read-only SELECT as ``nuwa_search.store.sql.run_sql`` does.

    Raises:
        NuwaError: If the query is refused, wrong, or takes too long.
    """
    result = run_sql(database, query)
    return pd.DataFrame(list(result.rows), columns=list(result.columns))
