"""List what the database knows about subnets, as rows of plain JSON values."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Subquery, and_, select, true
from sqlalchemy.orm import aliased

from nuwa_search.core.suggest import unknown_name
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import SubnetFound
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
from nuwa_search.store.wanted import LatencyColumns, ResolvedFilter, SubnetFilter, resolve_filter

EVERYTHING = SubnetFilter()


def _orders(rows: LatencyColumns) -> dict[str, tuple[ColumnElement[Any], ...]]:
    accurate = rows.top1.desc().nulls_last()
    return {
        "top1": (accurate, rows.latency_ms.asc()),
        "latency": (rows.latency_ms.asc(), accurate),
        "macs": (ArchRow.macs.asc(), rows.latency_ms.asc()),
        "params": (ArchRow.params.asc(), rows.latency_ms.asc()),
        "newest": (SubnetRow.pk.desc(), rows.latency_ms.asc()),
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
                front = front_query(resolved, is_sqlite=self.database.is_sqlite)
                keys = select(front.c.subnet_pk, front.c.device_pk)
                return _read(connection, _details(_head(keys, front.c, sort, limit), sort))
            rows = _find_timed(connection, resolved, sort=sort, limit=limit, is_sqlite=self.database.is_sqlite)
            asks_for_latency = wanted.device is not None or wanted.max_ms is not None or wanted.measured_only
            if not asks_for_latency and (limit is None or len(rows) < limit):
                left = None if limit is None else limit - len(rows)
                rows += _read(connection, _untimed(resolved).limit(left))
            return rows


def _find_timed(
    connection: Connection, wanted: ResolvedFilter, *, sort: str, limit: int | None, is_sqlite: bool
) -> list[SubnetFound]:
    if limit is not None and _index_ends_early(wanted, sort):
        found = _read(connection, _details(_head_subquery(wanted, sort, limit, is_sqlite=is_sqlite), sort))
        if len(found) == limit:
            return found  # else rows without accuracy may be missing
    return _read(connection, _details(_filter_subquery(wanted, sort, limit), sort))


def _filter_subquery(wanted: ResolvedFilter, sort: str, limit: int | None) -> Subquery:
    """Select the keys of the rows asked for."""
    keys = (
        select(LatencyRow.subnet_pk, LatencyRow.device_pk)
        .where(LatencyRow.device_pk.in_(wanted.device_pks), LatencyRow.task_pk.in_(wanted.task_pks))
        .where(*wanted.conditions(LatencyRow))
    )
    return _head(keys, LatencyRow, sort, limit)


def _head(keys: Select[*tuple[Any, ...]], row: LatencyColumns, sort: str, limit: int | None) -> Subquery:
    """Apply the limit to keys, before anything is joined for columns that people see."""
    if limit is not None:
        if sort in ("macs", "params", "newest"):
            keys = keys.join(SubnetRow, SubnetRow.pk == row.subnet_pk)
        if sort in ("macs", "params"):
            keys = keys.join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
        keys = keys.order_by(*_orders(row)[sort], row.subnet_pk).limit(limit)
    return keys.subquery("keys")


def _index_ends_early(wanted: ResolvedFilter, sort: str) -> bool:
    """Whether the first rows of an index in ``sort``'s order are the answer, nothing else being filtered away."""
    if wanted.base_pks is not None or wanted.subnet_pks is not None or wanted.measured_only:
        return False
    return (sort == "top1" and wanted.max_ms is None) or (sort == "latency" and wanted.min_top1 is None)


def _head_subquery(wanted: ResolvedFilter, sort: str, limit: int, *, is_sqlite: bool) -> Subquery:
    """Select the keys of the first ``limit`` rows among the first of each device and task, read in index order."""
    groups = wanted.groups()
    row, found = aliased(LatencyRow), aliased(LatencyRow)
    order = _orders(row)[sort]
    head = (
        select(row.subnet_pk, row.device_pk)
        .where(row.device_pk == groups.c.device_pk, row.task_pk == groups.c.task_pk)
        .where(*wanted.conditions(row))
        .order_by(*order, row.subnet_pk)
        .limit(limit)
        .correlate(groups)
    )
    if sort == "top1":
        # PostgreSQL's index has rows without accuracy first; without them its order is the one wanted.
        head = head.where(row.top1.is_not(None)).order_by(None).order_by(row.top1.desc(), *order[1:], row.subnet_pk)
    if is_sqlite:  # which has no LATERAL
        is_in_head = found.subnet_pk.in_(head.with_only_columns(row.subnet_pk))
        keys = select(found).select_from(groups.join(found, and_(found.device_pk == groups.c.device_pk, is_in_head)))
    else:
        point = head.lateral()
        is_point = and_(found.subnet_pk == point.c.subnet_pk, found.device_pk == point.c.device_pk)
        keys = select(found).select_from(groups.join(point, true()).join(found, is_point))
    return _head(keys.with_only_columns(found.subnet_pk, found.device_pk), found, sort, limit)


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
        .order_by(*_orders(LatencyRow)[sort], LatencyRow.subnet_pk, LatencyRow.device_pk)
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
