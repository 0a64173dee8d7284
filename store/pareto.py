"""Pareto fronts of accuracy against latency, found inside the database."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Subquery, and_, exists, func, select
from sqlalchemy.orm import aliased

from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.tables import LatencyRow, SubnetRow
from nuwa_search.store.wanted import ResolvedFilter


def front_query(wanted: ResolvedFilter) -> Subquery:
    """Select the subnets that none of the same device and task beats.

    They are found among the points of ``nuwa_search.store.front_tables``: whoever is beaten there is beaten by
    a point that every bound on latency and accuracy lets through too. Where that summary is stale, or
    the filter may leave out points that beat others, all latency rows compete.

    Args:
        wanted: Which subnets compete.

    Returns:
        Columns ``subnet_pk``, ``device_pk``, ``latency_ms`` and ``top1``.
    """
    if wanted.measured_only or wanted.subnet_pks is not None:
        points = competing(wanted, wanted.groups()).subquery("competing")
        return unbeaten(points, by_base=False).subquery("found")
    stored = (
        select(fronts)
        .where(fronts.c.device_pk.in_(wanted.device_pks), fronts.c.task_pk.in_(wanted.task_pks), ~is_stale(fronts))
        .where(*wanted.conditions(fronts.c, top1=fronts.c.top1))
    )
    stale = (
        select(stale_fronts)
        .where(stale_fronts.c.device_pk.in_(wanted.device_pks), stale_fronts.c.task_pk.in_(wanted.task_pks))
        .distinct()
        .subquery("stale_groups")
    )
    points = stored.union_all(competing(wanted, stale)).subquery("points")
    return unbeaten(points, by_base=False).subquery("found")


def is_stale(groups: FromClause) -> ColumnElement[bool]:
    """Ask whether the stored front of a pair of ``device_pk`` and ``task_pk`` may lack points."""
    is_of_pair = and_(stale_fronts.c.device_pk == groups.c.device_pk, stale_fronts.c.task_pk == groups.c.task_pk)
    return exists().where(is_of_pair).correlate(groups)


def competing(wanted: ResolvedFilter, groups: FromClause) -> Select[*tuple[Any, ...]]:
    """Select every point of pairs of ``device_pk`` and ``task_pk``, with the columns of ``front_tables.fronts``."""
    latency, subnet = aliased(LatencyRow), aliased(SubnetRow)
    is_in_group = and_(latency.device_pk == groups.c.device_pk, latency.task_pk == groups.c.task_pk)
    return (
        select(
            *(latency.device_pk, latency.task_pk, latency.base_pk, latency.latency_ms),
            *(subnet.top1, latency.subnet_pk),
        )
        .select_from(groups)
        .join(latency, is_in_group)
        .join(subnet, subnet.pk == latency.subnet_pk)
        .where(subnet.top1.is_not(None), *wanted.conditions(latency, top1=subnet.top1))
    )


def unbeaten(points: FromClause, *, by_base: bool) -> Select[*tuple[Any, ...]]:
    """Select the points that none of their group beats: the most accurate so far, and the fastest that is so accurate.

    Points that tie in both figures all stay.

    Args:
        points: With the columns of ``front_tables.fronts``.
        by_base: Whether a group is a device, task and base; else subnets of all bases of a device and task compete.
    """
    group = (points.c.device_pk, points.c.task_pk, *((points.c.base_pk,) if by_base else ()))
    compared = select(
        points,
        func.max(points.c.top1).over(partition_by=group, order_by=points.c.latency_ms).label("best"),
        func.min(points.c.latency_ms).over(partition_by=(*group, points.c.top1)).label("fastest"),
    ).subquery("compared")
    return select(*(compared.c[column.name] for column in fronts.columns)).where(
        compared.c.top1 == compared.c.best, compared.c.latency_ms == compared.c.fastest
    )
