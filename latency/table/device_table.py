"""The latency table of a device out of the database, and back from a file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.store_notebook import StoreNotebook
from nuwa_search.latency.table.unit import UnitKey, dict_from_key
from nuwa_search.store.records import LutEntry
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class TableChange:
    """What a file would change in a latency table.

    Args:
        added: Rows that the table lacks.
        changed: Rows that it has with another latency.
        num_same: Rows that it has already.
    """

    added: tuple[TableRow, ...]
    changed: tuple[TableRow, ...]
    num_same: int


def table_of(store: Store, spec: DeviceSpec) -> Sequence[TableRow]:
    """Read the latency table of a device, under the protocol that profiles use.

    Raises:
        NuwaError: If nothing was measured there yet.
    """
    rows = StoreNotebook(store, device=spec, protocol=PROTOCOL).rows()
    if not rows:
        raise NuwaError(
            f"device {spec.name} has no latency table yet",
            hint=f"nuwa profile {spec.name}, or nuwa device load {spec.name} FILE",
        )
    return rows


def compare_table(store: Store, spec: DeviceSpec, rows: Sequence[TableRow]) -> TableChange:
    """Compare rows from a file with the table of a device.

    Raises:
        NuwaError: If a row cannot be of this device: emulated where it is real or the reverse, not a
            positive latency, or named twice.
    """
    seen: set[UnitKey] = set()
    for number, row in enumerate(rows, start=1):
        if (row.provenance == "emulated") != (spec.kind == "emulated"):
            raise NuwaError(
                f"row {number} is {row.provenance}, and figures of {spec.name} are {spec.provenance}",
                hint="load the table into the device it was measured on",
            )
        if not math.isfinite(row.latency_ms) or row.latency_ms <= 0:
            raise NuwaError(
                f"row {number} has the latency {row.latency_ms} ms", hint="a latency is a finite number above 0"
            )
        if row.key in seen:
            raise NuwaError(f"row {number} comes twice", hint="keep one of the two")
        seen.add(row.key)
    known = {row.key: row for row in StoreNotebook(store, device=spec, protocol=PROTOCOL).rows()}
    changed = tuple(row for row in rows if row.key in known and known[row.key].latency_ms != row.latency_ms)
    added = tuple(row for row in rows if row.key not in known)
    return TableChange(added, changed, len(rows) - len(added) - len(changed))


def store_rows(store: Store, spec: DeviceSpec, rows: Sequence[TableRow]) -> None:
    """Add rows to the table of a device, or replace them, all or none."""
    entries = [LutEntry(dict_from_key(row.key), row.latency_ms, row.provenance, row.stats) for row in rows]
    store.save_lut_rows(spec, PROTOCOL, entries)
