"""Rows of latency tables as plain JSON values, with what they are about."""

from typing import Any

from sqlalchemy import Select, func, select

from nuwa_search.store.database import Database
from nuwa_search.store.records import JsonDict
from nuwa_search.store.tables import DeviceRow, LutEntryRow, LutRow, ProtocolRow


def find_lut_rows(
    database: Database, *, device_id: str | None = None, lut_id: str | None = None, limit: int, offset: int = 0
) -> list[JsonDict]:
    """List rows of the tables of a device, or of one table, oldest first.

    Args:
        database: The store.
        device_id: Only tables of this device.
        lut_id: Only this table.
        limit: At most so many rows.
        offset: Leave out so many of the oldest.

    Returns:
        ``lut_id``, ``protocol_id``, ``key``, ``latency_ms``, ``provenance`` and ``created_at`` (aware) of each.
    """
    columns = (LutRow.lut_id, ProtocolRow.protocol_id, LutEntryRow.key, LutEntryRow.latency_ms, LutEntryRow.provenance)
    query = _of(select(*columns, LutEntryRow.created_at), device_id, lut_id)
    query = query.join(ProtocolRow, ProtocolRow.pk == LutRow.protocol_pk)
    query = query.order_by(LutEntryRow.pk).limit(limit).offset(offset)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def count_lut_rows(database: Database, *, device_id: str | None = None, lut_id: str | None = None) -> int:
    """Count the rows of the tables of a device, or of one table."""
    with database.read() as connection:
        return int(connection.execute(_of(select(func.count(LutEntryRow.pk)), device_id, lut_id)).scalar_one())


def _of(query: Select[*tuple[Any, ...]], device_id: str | None, lut_id: str | None) -> Select[*tuple[Any, ...]]:
    query = query.select_from(LutEntryRow).join(LutRow, LutRow.pk == LutEntryRow.lut_pk)
    if device_id is not None:
        query = query.join(DeviceRow, DeviceRow.pk == LutRow.device_pk).where(DeviceRow.device_id == device_id)
    return query if lut_id is None else query.where(LutRow.lut_id == lut_id)
