"""Latency tables in the database, resumable row by row."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select

from nuwa_search.core.device import DeviceSpec, MeasureProtocol
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.devices import insert_device, insert_protocol
from nuwa_search.store.records import LutEntry, LutInfo
from nuwa_search.store.rows import need_pk, upsert
from nuwa_search.store.tables import DeviceRow, LutEntryRow, LutRow, ProtocolRow


def hash_key(key: Mapping[str, Any]) -> str:
    """Hash a row's key whatever the order of its fields: 16 hex digits of SHA-256."""
    text = json.dumps(dict(key), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_lut_id(device_id: str, protocol_id: str) -> str:
    """Name the latency table of a device under a protocol: 16 hex digits."""
    return hashlib.sha256(f"{device_id}:{protocol_id}".encode()).hexdigest()[:16]


def _info_query() -> Select[*tuple[Any, ...]]:
    num_rows = select(func.count()).where(LutEntryRow.lut_pk == LutRow.pk).scalar_subquery()
    return (
        select(LutRow.lut_id, DeviceRow.device_id, ProtocolRow.protocol_id, num_rows, LutRow.created_at)
        .join(DeviceRow, DeviceRow.pk == LutRow.device_pk)
        .join(ProtocolRow, ProtocolRow.pk == LutRow.protocol_pk)
        .order_by(LutRow.pk)
    )


def _insert_lut(connection: Connection, device: DeviceSpec, protocol: MeasureProtocol) -> int:
    values = {
        "lut_id": make_lut_id(device.device_id, protocol.protocol_id),
        "device_pk": insert_device(connection, device),
        "protocol_pk": insert_protocol(connection, protocol),
        "created_at": utc_now(),
    }
    upsert(connection, LutRow, [values], key=["lut_id"])
    return need_pk(connection, LutRow.pk, LutRow.lut_id, str(values["lut_id"]), noun="latency table")


class LutMethods(Database):
    """The store's methods about latency tables."""

    def save_lut_rows(self, device: DeviceSpec, protocol: MeasureProtocol, entries: Iterable[LutEntry]) -> str:
        """Add rows to the latency table of a device under a protocol, in one transaction.

        A row whose key is there already is replaced, so that a profile that was stopped may save
        again what it had.

        Returns:
            The table's ``lut_id``.
        """
        by_hash = {hash_key(entry.key): entry for entry in entries}
        now = utc_now()
        with self.write() as connection:
            pk = _insert_lut(connection, device, protocol)
            rows = [
                {
                    "lut_pk": pk,
                    "key_hash": key_hash,
                    "key": dict(entry.key),
                    "latency_ms": entry.latency_ms,
                    "stats": dict(entry.stats),
                    "provenance": entry.provenance,
                    "created_at": now,
                }
                for key_hash, entry in by_hash.items()
            ]
            upsert(
                connection,
                LutEntryRow,
                rows,
                key=["lut_pk", "key_hash"],
                update=["latency_ms", "stats", "provenance", "created_at"],
            )
        return make_lut_id(device.device_id, protocol.protocol_id)

    def load_lut_rows(self, device_id: str, protocol_id: str) -> tuple[LutEntry, ...]:
        """Read a latency table, always in the same order; empty where there is none."""
        query = (
            select(LutEntryRow.key, LutEntryRow.latency_ms, LutEntryRow.provenance, LutEntryRow.stats)
            .join(LutRow, LutRow.pk == LutEntryRow.lut_pk)
            .where(LutRow.lut_id == make_lut_id(device_id, protocol_id))
            .order_by(LutEntryRow.pk)
        )
        with self.read() as connection:
            return tuple(LutEntry(*row) for row in connection.execute(query))

    def lut_info(self, device_id: str, protocol_id: str) -> LutInfo | None:
        """Describe the latency table of a device under a protocol; None where there is none."""
        query = _info_query().where(LutRow.lut_id == make_lut_id(device_id, protocol_id))
        with self.read() as connection:
            row = connection.execute(query).first()
            return None if row is None else LutInfo(*row)

    def luts(self) -> tuple[LutInfo, ...]:
        """Describe all latency tables."""
        with self.read() as connection:
            return tuple(LutInfo(*row) for row in connection.execute(_info_query()))
