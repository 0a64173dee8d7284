"""Pareto fronts of accuracy against latency, found inside the database."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Subquery, and_, exists, func, select, true
from sqlalchemy.orm import aliased

from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.tables import LatencyRow
from nuwa_search.store.wanted import ResolvedFilter


def front_query(wanted: ResolvedFilter, *, is_sqlite: bool) -> Subquery:
    """Select the subnets that none of the same device and task beats.

    They are found among the points of ``nuwa_search.store.front_tables``: whoever is beaten there is beaten by
    a point that every bound on latency and accuracy lets through too. Where that summary is stale, or
    the filter may leave out points that beat others, the latency rows are walked.

    Args:
        wanted: Which subnets compete.
        is_sqlite: Whether the query is for SQLite.

    Returns:
        Columns ``subnet_pk``, ``device_pk``, ``latency_ms`` and ``top1``.
    """
    groups = wanted.groups()
    if wanted.measured_only or wanted.subnet_pks is not None:
        return walked_front(wanted, groups, is_sqlite=is_sqlite).subquery("found")
    is_stale = exists().where(
        stale_fronts.c.device_pk == groups.c.device_pk, stale_fronts.c.task_pk == groups.c.task_pk
    )
    stale_groups = select(groups).where(is_stale).subquery("stale_groups")
    stored = _summarised_front(wanted, select(groups).where(~is_stale).subquery("fresh_groups"))
    return stored.union_all(walked_front(wanted, stale_groups, is_sqlite=is_sqlite)).subquery("found")


def _summarised_front(wanted: ResolvedFilter, groups: FromClause) -> Select[*tuple[Any, ...]]:
    group = (fronts.c.device_pk, fronts.c.task_pk)
    points = (
        select(
            fronts,
            func.max(fronts.c.top1).over(partition_by=group, order_by=fronts.c.latency_ms).label("best"),
            func.min(fronts.c.latency_ms).over(partition_by=(*group, fronts.c.top1)).label("fastest"),
        )
        .join(groups, and_(fronts.c.device_pk == groups.c.device_pk, fronts.c.task_pk == groups.c.task_pk))
        .where(*wanted.conditions(fronts.c))
        .subquery("points")
    )
    is_on_front = and_(points.c.top1 == points.c.best, points.c.latency_ms == points.c.fastest)
    return select(points.c.subnet_pk, points.c.device_pk, points.c.latency_ms, points.c.top1).where(is_on_front)


def walked_front(wanted: ResolvedFilter, groups: FromClause, *, is_sqlite: bool) -> Select[*tuple[Any, ...]]:
    """Select the same through the latency rows, whatever the filter.

    A front is walked from its fastest point: the next one is the fastest that is more accurate. With
    the index on (device, task, latency, accuracy) each step goes on where the last one ended, so that
    a walk reads every index entry once at most and nothing else. (Accuracy is compared as ``top1 + 0``,
    which no index can serve: PostgreSQL would else collect all that is more accurate and sort it, step
    by step.) Subnets that tie in both figures are all on the front.

    Args:
        wanted: Which subnets compete.
        groups: Pairs of ``device_pk`` and ``task_pk``; with a column ``base_pk``, one front for each base.
        is_sqlite: Whether the query is for SQLite.
    """
    point, row = aliased(LatencyRow), aliased(LatencyRow)
    start = _and_fastest(groups, point, point.top1.is_not(None), wanted=wanted, is_sqlite=is_sqlite)
    front = start.cte("front", recursive=True)
    point = aliased(LatencyRow)
    more_accurate = and_(point.latency_ms > front.c.latency_ms, point.top1 + 0 > front.c.top1)
    front = front.union_all(_and_fastest(front, point, more_accurate, wanted=wanted, is_sqlite=is_sqlite))
    is_on_front = and_(
        _is_same_group(row, front),
        row.latency_ms == front.c.latency_ms,
        row.top1 == front.c.top1,
    )
    return (
        select(row.subnet_pk, row.device_pk, row.latency_ms, row.top1)
        .join(front, is_on_front)
        .where(*wanted.conditions(row))
    )


def _is_same_group(row: type[LatencyRow], outer: FromClause) -> ColumnElement[bool]:
    is_same = and_(row.device_pk == outer.c.device_pk, row.task_pk == outer.c.task_pk)
    return and_(is_same, row.base_pk == outer.c.base_pk) if "base_pk" in outer.c else is_same


def _and_fastest(
    outer: FromClause,
    row: type[LatencyRow],
    condition: ColumnElement[bool],
    *,
    wanted: ResolvedFilter,
    is_sqlite: bool,
) -> Select[*tuple[Any, ...]]:
    """Select, for each row of ``outer``, the fastest point of its group that meets ``condition``."""
    names = [name for name in ("device_pk", "task_pk", "base_pk") if name in outer.c] + ["latency_ms", "top1"]
    fastest = (
        select(*(getattr(row, name) for name in names))
        .where(_is_same_group(row, outer), condition)
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
    return select(*(getattr(found, name) for name in names)).select_from(
        outer.join(found, and_(found.device_pk == outer.c.device_pk, found.subnet_pk == key))
    )
