"""List latencies, studies, devices and certificates as rows of plain JSON values, read from the views."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import TextClause, text

from nuwa_search.store.bases import find_bases
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import CertificateFound, DeviceFound, LatencyFound, StudyFound
from nuwa_search.store.records import JsonDict
from nuwa_search.store.tasks import find_classes_hash

_JSON_COLUMNS = frozenset({"classes", "devices", "settings", "result", "content", "report"})


_FURTHER_DEVICE = "CAST(settings AS TEXT) LIKE :further ESCAPE '!'"
"""Further budgets of a search are in its settings, ``"more_budgets": ["8@jetson-orin-nano"]``, on both databases as
they were written."""


@dataclass(frozen=True)
class Latencies:
    """Latencies of whole models: ``store.latencies``.

    Args:
        database: The store.
    """

    database: Database

    def find(
        self,
        *,
        device: str | None = None,
        model: str | None = None,
        max_ms: float | None = None,
        measured_only: bool = False,
        limit: int | None = None,
    ) -> list[LatencyFound]:
        """List every latency of a whole model: measured ones first, newest first, then predicted ones.

        Args:
            device: Name or id of a device.
            model: An arch id, a subnet id or the hash of an ONNX file.
            max_ms: Largest latency in milliseconds.
            measured_only: Whether predictions are left out.
            limit: At most so many rows; None for all.
        """
        conditions = _by_device(device)
        if model is not None:
            conditions.append("(arch_id = :model OR subnet_id = :model OR onnx_hash = :model)")
        if max_ms is not None:
            conditions.append("latency_ms <= :max_ms")
        wanted = {"device": device, "model": model, "max_ms": max_ms}
        measured = rows_of(
            self.database, "v_latencies", [*conditions, "figure = 'measured'"], wanted, "created_at DESC", limit
        )
        found = cast("list[LatencyFound]", measured)
        if measured_only or (limit is not None and len(found) >= limit):
            return found
        left = None if limit is None else limit - len(found)
        predicted = rows_of(self.database, "v_latencies", [*conditions, "figure = 'predicted'"], wanted, None, left)
        return found + cast("list[LatencyFound]", predicted)


@dataclass(frozen=True)
class Studies:
    """Searches with their settings and answers: ``store.studies``.

    Args:
        database: The store.
    """

    database: Database

    def find(
        self,
        *,
        device: str | None = None,
        classes: Sequence[str] | None = None,
        base: str | None = None,
        limit: int | None = None,
    ) -> list[StudyFound]:
        """List searches, newest first, each with its settings and its answer (``result``, null while it runs).

        ``seconds`` is what the answer says of its stages; null where there is no answer.

        Args:
            device: Name or id of a device, or name of a further device of a search.
            classes: Exactly these classes, in any order.
            base: Id of a base, or a name: of several that were called so, the one stored last.
            limit: At most so many rows; None for all.
        """
        conditions = [] if device is None else [f"({_by_device(device)[0]} OR {_FURTHER_DEVICE})"]
        if classes is not None:
            conditions.append("task_id IN (SELECT task_id FROM nuwa_tasks WHERE classes_hash = :classes)")
        if base is not None:
            conditions.append("base_id = :base")
        found = None
        with self.database.read() as connection:
            if classes is not None:
                found = find_classes_hash(connection, classes)
            if base is not None:
                base = next((known.base_id for known in find_bases(connection, base)), base)
        further = None if device is None else _further_device(device)
        wanted = {"device": device, "base": base, "classes": found, "further": further}
        rows = rows_of(self.database, "v_studies", conditions, wanted, "created_at DESC", limit)
        timed = [row | {"seconds": (row["result"] or {}).get("seconds")} for row in rows]
        return cast("list[StudyFound]", timed)


@dataclass(frozen=True)
class Certificates:
    """Certificates with the content of their files: ``store.certificates``.

    Args:
        database: The store.
    """

    database: Database

    def find(
        self,
        *,
        device: str | None = None,
        subnet_id: str | None = None,
        arch_id: str | None = None,
        max_ms: float | None = None,
        limit: int | None = None,
    ) -> list[CertificateFound]:
        """List certificates, newest first, each with the content of its file.

        Args:
            device: Name or id of a device.
            subnet_id: Only those of this subnet.
            arch_id: Only those of subnets of this shape.
            max_ms: Largest measured latency in milliseconds.
            limit: At most so many rows; None for all.
        """
        conditions = _by_device(device)
        if subnet_id is not None:
            conditions.append("subnet_id = :subnet_id")
        if arch_id is not None:
            conditions.append("arch_id = :arch_id")
        if max_ms is not None:
            conditions.append("measured_latency_ms <= :max_ms")
        wanted = {"device": device, "subnet_id": subnet_id, "arch_id": arch_id, "max_ms": max_ms}
        found = rows_of(self.database, "v_certificates", conditions, wanted, "created_at DESC", limit)
        return cast("list[CertificateFound]", found)


def query_devices(database: Database, *, device: str | None = None, limit: int | None = None) -> list[DeviceFound]:
    """List devices by name, each with what is stored about it: table rows, measurements, newest predictor."""
    found = rows_of(database, "v_devices", _by_device(device), {"device": device}, "device, created_at", limit)
    return cast("list[DeviceFound]", found)


def _by_device(device: str | None) -> list[str]:
    return [] if device is None else ["(device = :device OR device_id = :device)"]


def _further_device(name: str) -> str:
    """Write what ``settings`` look like in which a further budget names a device."""
    plain = name.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f'%"more!_budgets":%@{plain}"%'


def rows_of(
    database: Database,
    view: str,
    conditions: list[str],
    wanted: Mapping[str, str | float | None],
    order: str | None,
    limit: int | None,
) -> list[JsonDict]:
    """Read the rows of a view.

    Args:
        database: The store.
        view: Its name.
        conditions: Joined by AND; constants of the store, with names for values.
        wanted: The values, bound; those that are None are left out.
        order: A constant as well; None for any.
        limit: At most so many rows; None for all.
    """
    values = {name: value for name, value in wanted.items() if value is not None}
    with database.read() as connection:
        found = connection.execute(_select(view, conditions, order, limit), values)
        return [_plain_row(row) for row in found.mappings()]


def _select(view: str, conditions: list[str], order: str | None, limit: int | None) -> TextClause:
    # All parts are constants of this module; what users wrote is bound.
    query = f"SELECT * FROM {view}"  # noqa: S608
    if conditions:
        query += " WHERE " + " AND ".join(conditions)
    if order is not None:
        query += f" ORDER BY {order}"
    if limit is not None:
        query += f" LIMIT {int(limit)}"
    return text(query)


def _plain_row(row: Mapping[Any, Any]) -> JsonDict:
    return {str(name): _plain(str(name), value) for name, value in row.items()}


def _plain(name: str, value: Any) -> Any:
    """Make a value the same on both databases: SQLite returns JSON, times and truth values as it stores them."""
    if name in _JSON_COLUMNS and isinstance(value, str):
        return json.loads(value)
    if name.endswith("_at") and isinstance(value, str):
        return value.replace(" ", "T") + "Z"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return bool(value) if name.startswith("is_") else value
