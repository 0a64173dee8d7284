"""Pareto fronts of accuracy against latency, found inside the database."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, select, true
from sqlalchemy.orm import aliased

from nuwa.store.tables import LatencyRow
from nuwa.store.wanted import ResolvedFilter


def front_query(wanted: ResolvedFilter, row: type[LatencyRow], *, is_sqlite: bool) -> Select[*tuple[Any, ...]]:
    """Select keys (``subnet_pk``, ``device_pk``) of the subnets that none of the same device and task beats.

    A front is walked from its fastest point: the next one is the fastest that is more accurate. With
    the index on (device, task, latency, accuracy) each step goes on where the last one ended, so that
    a walk reads every index entry once at most and nothing else. (Accuracy is compared as ``top1 + 0``,
    which no index can serve: PostgreSQL would else collect all that is more accurate and sort it, step
    by step.) Subnets that tie in both figures are all on the front.

    Args:
        wanted: Which subnets compete.
        row: Alias of the latency rows that come out, for the caller to sort by.
        is_sqlite: Whether the query is for SQLite.
    """
    groups = wanted.groups()
    point = aliased(LatencyRow)
    start = _and_fastest(groups, point, point.top1.is_not(None), wanted=wanted, is_sqlite=is_sqlite)
    front = start.cte("front", recursive=True)
    point = aliased(LatencyRow)
    more_accurate = and_(point.latency_ms > front.c.latency_ms, point.top1 + 0 > front.c.top1)
    front = front.union_all(_and_fastest(front, point, more_accurate, wanted=wanted, is_sqlite=is_sqlite))
    is_on_front = and_(
        row.device_pk == front.c.device_pk,
        row.task_pk == front.c.task_pk,
        row.latency_ms == front.c.latency_ms,
        row.top1 == front.c.top1,
    )
    return select(row.subnet_pk, row.device_pk).join(front, is_on_front).where(*wanted.conditions(row))


def _and_fastest(
    outer: FromClause,
    row: type[LatencyRow],
    condition: ColumnElement[bool],
    *,
    wanted: ResolvedFilter,
    is_sqlite: bool,
) -> Select[*tuple[Any, ...]]:
    """Select, for each row of ``outer``, the fastest point of its device and task that meets ``condition``."""
    fastest = (
        select(row.device_pk, row.task_pk, row.latency_ms, row.top1)
        .where(row.device_pk == outer.c.device_pk, row.task_pk == outer.c.task_pk, condition)
        .where(*wanted.conditions(row, top1=row.top1 + 0))
        .order_by(row.latency_ms, row.top1.desc())
        .limit(1)
        .correlate(outer)
    )
    if not is_sqlite:
        point = fastest.lateral()
        return select(point).select_from(outer.join(point, true()))
    # SQLite has no LATERAL: find the row's key in a scalar subquery, then the row.
    found = aliased(LatencyRow)
    key = fastest.with_only_columns(row.subnet_pk).scalar_subquery()
    return select(found.device_pk, found.task_pk, found.latency_ms, found.top1).select_from(
        outer.join(found, and_(found.device_pk == outer.c.device_pk, found.subnet_pk == key))
    )
