"""List what the database knows about subnets, as rows of plain JSON values."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Subquery, and_, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import SQLCoreOperations

from nuwa_search.core.suggest import unknown_name
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import SubnetFound
from nuwa_search.store.heads import head_points
from nuwa_search.store.named_rows import named_rows
from nuwa_search.store.pareto import front_query
from nuwa_search.store.sort_orders import SORTS
from nuwa_search.store.tables import (
    ArchRow,
    LatencyRow,
    MeasurementRow,
    ScoreRow,
    SubnetRow,
)
from nuwa_search.store.wanted import ResolvedFilter, SubnetFilter, resolve_filter

EVERYTHING = SubnetFilter()


def _orders(
    latency_ms: SQLCoreOperations[float], top1: SQLCoreOperations[float | None]
) -> dict[str, tuple[ColumnElement[Any], ...]]:
    accurate = top1.desc().nulls_last()
    return {
        "top1": (accurate, latency_ms.asc()),
        "latency": (latency_ms.asc(), accurate),
        "macs": (ArchRow.macs.asc(), latency_ms.asc()),
        "params": (ArchRow.params.asc(), latency_ms.asc()),
        "newest": (SubnetRow.pk.desc(), latency_ms.asc()),
    }


@dataclass(frozen=True)
class Subnets:
    """What is known of subnets on each device: ``store.subnets``.

    Args:
        database: The store.
    """

    database: Database

    def find(
        self,
        wanted: SubnetFilter = EVERYTHING,
        *,
        pareto: bool = False,
        sort: str = "top1",
        limit: int | None = None,
    ) -> list[SubnetFound]:
        """List subnets with what is known of them on each device.

        A subnet that has latencies on two devices has two rows; one without any has one row
        without a device, listed last. ``bundle_is_missing`` says that the folder of a bundle is gone, ``is_current``
        whether images still become network input as they did for these scores: another ``pipeline`` makes another task
        of the same images, and tasks share no front.

        Args:
            wanted: Which subnets.
            pareto: Keep only those that no other one of the same device and task beats: latencies of two
                devices and accuracies of two tasks are never compared.
            sort: ``top1``, ``latency``, ``macs``, ``params`` or ``newest``.
            limit: At most so many rows; None for all.

        Returns:
            Rows of plain JSON values.

        Raises:
            NuwaError: If ``sort`` is not known.
        """
        if sort not in SORTS:
            raise unknown_name("sort order", sort, SORTS)
        with self.database.read() as connection:
            resolved = resolve_filter(connection, wanted)
            if pareto:
                return _read(connection, _details(_head(front_query(resolved), sort, limit), sort))
            rows = _find_timed(connection, resolved, sort=sort, limit=limit, is_sqlite=self.database.is_sqlite)
            asks_for_latency = wanted.device is not None or wanted.max_ms is not None or wanted.measured_only
            if not asks_for_latency and (limit is None or len(rows) < limit):
                left = None if limit is None else limit - len(rows)
                rows += _read(connection, _untimed(resolved).limit(left))
            return rows


def _find_timed(
    connection: Connection, wanted: ResolvedFilter, *, sort: str, limit: int | None, is_sqlite: bool
) -> list[SubnetFound]:
    if limit is not None and sort in ("top1", "latency") and wanted.subnet_pks is None:
        points = head_points(wanted, sort=sort, limit=limit, is_sqlite=is_sqlite)
        found = _read(connection, _details(_head(points, sort, limit), sort))
        if sort == "latency" or wanted.min_top1 is not None or len(found) == limit:
            return found  # else rows without accuracy may be missing
    return _read(connection, _details(_head(_points(wanted), sort, limit), sort))


def _points(wanted: ResolvedFilter) -> Subquery:
    """Select the rows asked for, with what they are sorted by."""
    return (
        select(LatencyRow.subnet_pk, LatencyRow.device_pk, LatencyRow.latency_ms, SubnetRow.top1)
        .join(SubnetRow, SubnetRow.pk == LatencyRow.subnet_pk)
        .where(LatencyRow.device_pk.in_(wanted.device_pks), LatencyRow.task_pk.in_(wanted.task_pks))
        .where(*wanted.conditions(LatencyRow, top1=SubnetRow.top1))
        .subquery("points")
    )


def _head(points: Subquery, sort: str, limit: int | None) -> Subquery:
    """Apply the limit to points, before anything is joined for columns that people see."""
    keys = select(points.c.subnet_pk, points.c.device_pk)
    if limit is not None:
        if sort in ("macs", "params", "newest"):
            keys = keys.join(SubnetRow, SubnetRow.pk == points.c.subnet_pk)
        if sort in ("macs", "params"):
            keys = keys.join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
        keys = keys.order_by(*_orders(points.c.latency_ms, points.c.top1)[sort], points.c.subnet_pk).limit(limit)
    return keys.subquery("keys")


def pixel_score() -> ColumnElement[float | None]:
    """Select the mIoU of the final weights on the test split, where pixels have classes; the newest of several."""
    pixels = aliased(ScoreRow)
    return (
        select(pixels.value)
        .where(pixels.subnet_pk == SubnetRow.pk, pixels.kind == "miou", pixels.split == "test")
        .order_by(pixels.pk.desc())
        .limit(1)
        .correlate(SubnetRow)
        .scalar_subquery()
        .label("miou")
    )


_COLUMNS = (
    ArchRow.arch_id,
    SubnetRow.subnet_id,
    LatencyRow.device_pk,
    LatencyRow.predicted_latency_ms,
    LatencyRow.predicted_low_ms,
    LatencyRow.predicted_high_ms,
    LatencyRow.measured_latency_ms,
    LatencyRow.provenance,
    SubnetRow.top1,
    pixel_score(),
    ScoreRow.split,
    ScoreRow.kind.label("score_kind"),
    ScoreRow.num_images,
    SubnetRow.task_pk,
    SubnetRow.base_pk,
    ArchRow.macs,
    ArchRow.params,
    ArchRow.content["img_size"].as_string().label("img_size"),  # of images that are no square it is a list
    SubnetRow.search_pk,
    SubnetRow.trial_number,
    SubnetRow.bundle_dir,
    MeasurementRow.measurement_id,
    LatencyRow.predictor_pk,
)


def _join_subnet(rows: FromClause) -> FromClause:
    subnet, arch = SubnetRow.__table__, ArchRow.__table__
    return (
        rows.join(arch, arch.c.pk == subnet.c.arch_pk)
        .outerjoin(ScoreRow.__table__, ScoreRow.pk == SubnetRow.score_pk)
        .outerjoin(MeasurementRow.__table__, MeasurementRow.pk == LatencyRow.measurement_pk)
    )


def _details(keys: Subquery, sort: str) -> Select[*tuple[Any, ...]]:
    latency, subnet = LatencyRow.__table__, SubnetRow.__table__
    rows = keys.join(
        latency, and_(LatencyRow.subnet_pk == keys.c.subnet_pk, LatencyRow.device_pk == keys.c.device_pk)
    ).join(subnet, SubnetRow.pk == LatencyRow.subnet_pk)
    return (
        select(*_COLUMNS)
        .select_from(_join_subnet(rows))
        .order_by(*_orders(LatencyRow.latency_ms, SubnetRow.top1)[sort], LatencyRow.subnet_pk, LatencyRow.device_pk)
    )


def _untimed(wanted: ResolvedFilter) -> Select[*tuple[Any, ...]]:
    """Select the subnets that have no latency row at all."""
    rows = SubnetRow.__table__.outerjoin(LatencyRow.__table__, LatencyRow.subnet_pk == SubnetRow.pk)
    query = (
        select(*_COLUMNS)
        .select_from(_join_subnet(rows))
        .where(LatencyRow.subnet_pk.is_(None), SubnetRow.task_pk.in_(wanted.task_pks))
        .order_by(SubnetRow.top1.desc().nulls_last(), SubnetRow.pk)
    )
    if wanted.base_pks is not None:
        query = query.where(SubnetRow.base_pk.in_(wanted.base_pks))
    if wanted.min_top1 is not None:
        query = query.where(SubnetRow.top1 >= wanted.min_top1)
    if wanted.subnet_pks is not None:
        query = query.where(SubnetRow.pk.in_(wanted.subnet_pks))
    return query


def _read(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[SubnetFound]:
    found = connection.execute(query)
    names = [str(name) for name in found.keys()]  # noqa: SIM118 - a result is no dictionary
    return named_rows(connection, names, found.all())
