"""Pareto fronts of accuracy against latency, found inside the database."""

from sqlalchemy import Subquery, and_, select
from sqlalchemy.orm import aliased

from nuwa.store.tables import DeviceRow, LatencyRow, TaskRow
from nuwa.store.wanted import ResolvedFilter


def front_subquery(wanted: ResolvedFilter) -> Subquery:
    """Select keys (``subnet_pk``, ``device_pk``) of the subnets that none of the same device and task beats.

    A front is walked from its fastest point: the next one is the fastest that is more accurate. With
    the index on (device, task, latency, accuracy) each step goes on where the last one ended, so that
    a walk reads every index entry once at most and nothing else. Subnets that tie in both figures
    are all on the front.
    """
    walk, next_row, step = aliased(LatencyRow), aliased(LatencyRow), aliased(LatencyRow)
    fastest = (
        select(walk.subnet_pk)
        .where(walk.device_pk == DeviceRow.pk, walk.task_pk == TaskRow.pk, walk.top1.is_not(None))
        .where(*wanted.conditions(walk))
        .order_by(walk.latency_ms, walk.top1.desc())
        .limit(1)
        .scalar_subquery()
    )
    first = aliased(LatencyRow)
    front = (
        select(first.device_pk, first.task_pk, first.latency_ms, first.top1)
        .select_from(DeviceRow)
        .join(TaskRow, TaskRow.pk.in_(wanted.task_pks))
        .join(first, and_(first.device_pk == DeviceRow.pk, first.subnet_pk == fastest))
        .where(DeviceRow.pk.in_(wanted.device_pks))
        .cte("front", recursive=True)
    )
    better = (
        select(next_row.subnet_pk)
        .where(
            next_row.device_pk == front.c.device_pk,
            next_row.task_pk == front.c.task_pk,
            next_row.latency_ms > front.c.latency_ms,
            next_row.top1 > front.c.top1,
        )
        .where(*wanted.conditions(next_row))
        .order_by(next_row.latency_ms, next_row.top1.desc())
        .limit(1)
        .correlate(front)
        .scalar_subquery()
    )
    front = front.union_all(
        select(step.device_pk, step.task_pk, step.latency_ms, step.top1).join(
            front, and_(step.device_pk == front.c.device_pk, step.subnet_pk == better)
        )
    )
    tied = aliased(LatencyRow)
    return (
        select(tied.subnet_pk, tied.device_pk)
        .join(
            front,
            and_(
                tied.device_pk == front.c.device_pk,
                tied.task_pk == front.c.task_pk,
                tied.latency_ms == front.c.latency_ms,
                tied.top1 == front.c.top1,
            ),
        )
        .where(*wanted.conditions(tied))
        .subquery("keys")
    )
