"""Which subnets a query asks for, in people's words and in keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, or_, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import SQLCoreOperations

from nuwa_search.store.bases import pk_of_base
from nuwa_search.store.rows import find_pks
from nuwa_search.store.tables import DeviceRow, LatencyRow, SubnetRow, TaskRow
from nuwa_search.store.tasks import find_classes_hash

LatencyColumns = type[LatencyRow] | ReadOnlyColumnCollection[str, ColumnElement[Any]]


@dataclass(frozen=True)
class SubnetFilter:
    """Which subnets are asked for; None leaves a question open.

    Args:
        device: Name or id of a device.
        max_ms: Largest latency in milliseconds (measured, or predicted where none was measured).
        min_top1: Smallest accuracy, a fraction.
        classes: Exactly these classes, in any order.
        base: Id of a base, or a name: of several that were called so, the one stored last.
        measured_only: Whether subnets whose latency is only predicted are left out.
        subnet_ids: Only these subnets.
        task_id: Only of this task.
    """

    device: str | None = None
    max_ms: float | None = None
    min_top1: float | None = None
    classes: Sequence[str] | None = None
    base: str | None = None
    measured_only: bool = False
    subnet_ids: Sequence[str] | None = None
    task_id: str | None = None


@dataclass(frozen=True)
class ResolvedFilter:
    """A filter with names looked up; an empty tuple of keys means that nothing can match."""

    device_pks: tuple[int, ...]
    task_pks: tuple[int, ...]
    base_pks: tuple[int, ...] | None
    max_ms: float | None
    min_top1: float | None
    measured_only: bool
    subnet_pks: tuple[int, ...] | None

    def groups(self) -> Subquery:
        """Select the pairs of device and task (``device_pk``, ``task_pk``) asked for."""
        return (
            select(DeviceRow.pk.label("device_pk"), TaskRow.pk.label("task_pk"))
            .join(TaskRow, TaskRow.pk.in_(self.task_pks))
            .where(DeviceRow.pk.in_(self.device_pks))
            .subquery("groups")
        )

    def conditions(self, rows: LatencyColumns, *, top1: SQLCoreOperations[Any] | None) -> list[ColumnElement[bool]]:
        """Write everything but device and task as conditions on latency rows.

        Args:
            rows: The latency rows, an alias of them, or the columns of a table that repeats theirs.
            top1: The accuracy of their subnets; None leaves the least one wanted out.
        """
        found: list[ColumnElement[bool]] = []
        if self.base_pks is not None:
            found.append(rows.base_pk.in_(self.base_pks))
        if self.max_ms is not None:
            found.append(rows.latency_ms <= self.max_ms)
        if self.min_top1 is not None and top1 is not None:
            found.append(top1 >= self.min_top1)
        if self.measured_only:
            found.append(rows.measured_latency_ms.is_not(None))
        if self.subnet_pks is not None:
            found.append(rows.subnet_pk.in_(self.subnet_pks))
        return found


def resolve_filter(connection: Connection, wanted: SubnetFilter) -> ResolvedFilter:
    """Look up the keys behind names; all devices and tasks where none is named."""
    devices = select(DeviceRow.pk)
    if wanted.device is not None:
        devices = devices.where(or_(DeviceRow.name == wanted.device, DeviceRow.device_id == wanted.device))
    tasks = select(TaskRow.pk)
    if wanted.classes is not None:
        tasks = tasks.where(TaskRow.classes_hash == find_classes_hash(connection, wanted.classes))
    if wanted.task_id is not None:
        tasks = tasks.where(TaskRow.task_id == wanted.task_id)
    base_pks = None
    if wanted.base is not None:
        pk = pk_of_base(connection, wanted.base)
        base_pks = () if pk is None else (pk,)
    subnet_pks = None
    if wanted.subnet_ids is not None:
        subnet_pks = tuple(find_pks(connection, SubnetRow.pk, SubnetRow.subnet_id, wanted.subnet_ids).values())
    return ResolvedFilter(
        device_pks=tuple(connection.execute(devices).scalars()),
        task_pks=tuple(connection.execute(tasks).scalars()),
        base_pks=base_pks,
        max_ms=wanted.max_ms,
        min_top1=wanted.min_top1,
        measured_only=wanted.measured_only,
        subnet_pks=subnet_pks,
    )
