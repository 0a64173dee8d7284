"""The first rows by accuracy or by latency, found without reading all of them.

Accuracy stands in the rows of subnets and latency in rows of its own, so no index has both. Where few rows of a device
and task meet what is asked of the other column than the order's, they are read and sorted; where many do, rows are
walked in the order until enough of them do. A bound on the other column says, by the stored front, where to begin.
"""

import sys
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Subquery, and_, case, func, literal, select, true
from sqlalchemy.orm import aliased

from nuwa_search.store.front_tables import fronts
from nuwa_search.store.pareto import is_stale
from nuwa_search.store.tables import LatencyRow, SubnetRow
from nuwa_search.store.wanted import ResolvedFilter

FEW = 1000
"""Rows of a device and task that are sorted rather than searched for: a few milliseconds' look-ups."""

_NO_BOUND = sys.float_info.max


def head_points(wanted: ResolvedFilter, *, sort: str, limit: int, is_sqlite: bool) -> Subquery:
    """Select rows among which the first ``limit`` are; by accuracy, of those that have one.

    Args:
        wanted: Which rows; ``subnet_pks`` is not looked at.
        sort: ``top1`` or ``latency``.
        limit: How many are wanted.
        is_sqlite: Whether the query is for SQLite.

    Returns:
        Columns ``subnet_pk``, ``device_pk``, ``latency_ms`` and ``top1``.
    """
    sized = _sized(wanted, sort).cte("sized")
    few = select(sized).where(sized.c.num_rows < FEW).subquery("few")
    many = select(sized).where(sized.c.num_rows >= FEW).subquery("many")
    walked = _walked(wanted, many, sort=sort, limit=limit, is_sqlite=is_sqlite)
    return _all_of(wanted, few, sort).union_all(walked).subquery("head")


def _sized(wanted: ResolvedFilter, sort: str) -> Select[*tuple[Any, ...]]:
    """Select the pairs of device and task, and how many rows meet what the order does not see, up to ``FEW``."""
    groups = wanted.groups()
    if sort == "top1":
        row = aliased(LatencyRow)
        some = select(row.subnet_pk).where(
            row.device_pk == groups.c.device_pk, row.task_pk == groups.c.task_pk, *wanted.conditions(row, top1=None)
        )
    elif wanted.min_top1 is None:  # latency rows in their order are the answer
        return select(groups, literal(FEW).label("num_rows"))
    else:
        subnet = aliased(SubnetRow)
        some = select(subnet.pk).where(subnet.task_pk == groups.c.task_pk, subnet.top1 >= wanted.min_top1)
    counted = select(func.count()).select_from(some.limit(FEW).correlate(groups).subquery()).scalar_subquery()
    return select(groups, counted.label("num_rows"))


def _all_of(wanted: ResolvedFilter, groups: FromClause, sort: str) -> Select[*tuple[Any, ...]]:
    """Select every row of the groups, by way of those that were counted."""
    latency, subnet = aliased(LatencyRow), aliased(SubnetRow)
    is_in_group = latency.device_pk == groups.c.device_pk
    if sort == "top1":
        is_in_group = and_(is_in_group, latency.task_pk == groups.c.task_pk)
        rows = groups.join(latency, is_in_group).join(subnet, subnet.pk == latency.subnet_pk)
    else:
        is_in_group = and_(is_in_group, latency.subnet_pk == subnet.pk)
        rows = groups.join(subnet, subnet.task_pk == groups.c.task_pk).join(latency, is_in_group)
    return (
        select(latency.subnet_pk, latency.device_pk, latency.latency_ms, subnet.top1)
        .select_from(rows)
        .where(subnet.top1.is_not(None), *wanted.conditions(latency, top1=subnet.top1))
    )


def _walked(
    wanted: ResolvedFilter, groups: FromClause, *, sort: str, limit: int, is_sqlite: bool
) -> Select[*tuple[Any, ...]]:
    """Select the first ``limit`` rows of each group, read in the order until there are so many."""
    latency, subnet = aliased(LatencyRow), aliased(SubnetRow)
    is_of_subnet = and_(latency.subnet_pk == subnet.pk, latency.device_pk == groups.c.device_pk)
    rows = select(latency.subnet_pk, latency.device_pk, latency.latency_ms, subnet.top1)
    if sort == "top1":
        # The task is asked of the subnet alone, or SQLite would begin with the latency rows.
        rows = rows.select_from(subnet).join(latency, is_of_subnet).where(subnet.task_pk == groups.c.task_pk)
        # PostgreSQL's index has rows without accuracy first; without them its order is the one wanted.
        rows = rows.where(subnet.top1.is_not(None))
        order: tuple[Any, ...] = (subnet.top1.desc(), latency.latency_ms, latency.subnet_pk)
    else:
        rows = rows.select_from(latency).join(subnet, is_of_subnet).where(latency.task_pk == groups.c.task_pk)
        order = (latency.latency_ms, subnet.top1.desc().nulls_last(), latency.subnet_pk)
    rows = (
        rows.where(latency.device_pk == groups.c.device_pk)
        .where(*wanted.conditions(latency, top1=subnet.top1), *_beginnings(wanted, groups, latency, subnet, sort))
        .order_by(*order)
        .limit(limit)
        .correlate(groups)
    )
    if not is_sqlite:
        point = rows.lateral()
        return select(point).select_from(groups.join(point, true()))
    # SQLite has no LATERAL: find the keys in a subquery, then the rows.
    found, of = aliased(LatencyRow), aliased(SubnetRow)
    is_found = and_(found.device_pk == groups.c.device_pk, found.subnet_pk.in_(rows.with_only_columns(subnet.pk)))
    return select(found.subnet_pk, found.device_pk, found.latency_ms, of.top1).select_from(
        groups.join(found, is_found).join(of, of.pk == found.subnet_pk)
    )


def _beginnings(
    wanted: ResolvedFilter, groups: FromClause, latency: type[LatencyRow], subnet: type[SubnetRow], sort: str
) -> list[ColumnElement[bool]]:
    """Say where a walk begins: nothing so fast is more accurate, nothing so accurate faster, than a point of a front.

    A front that is stale says nothing.
    """
    front = fronts.alias()
    group = (front.c.device_pk == groups.c.device_pk, front.c.task_pk == groups.c.task_pk)
    if sort == "top1" and wanted.max_ms is not None:
        best = select(func.max(front.c.top1)).where(*group, front.c.latency_ms <= wanted.max_ms).correlate(groups)
        return [subnet.top1 <= case((is_stale(groups), _NO_BOUND), else_=best.scalar_subquery())]
    if sort == "latency" and wanted.min_top1 is not None:
        fastest = select(func.min(front.c.latency_ms)).where(*group, front.c.top1 >= wanted.min_top1).correlate(groups)
        return [latency.latency_ms >= case((is_stale(groups), -_NO_BOUND), else_=fastest.scalar_subquery())]
    return []
