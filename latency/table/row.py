"""One measured row of a latency table, and the table as a value."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from nuwa_search.core import checked
from nuwa_search.core.device import Provenance
from nuwa_search.latency.table.unit import UnitKey, dict_from_key, key_from_dict

MAX_MS = 1e9
"""Of a row: eleven days. A slope may come out below zero by its own error, never by more than this."""


@dataclass(frozen=True)
class TableRow:
    """The latency of one unit in milliseconds.

    Args:
        key: What was measured.
        latency_ms: Slope over chains of different length; for a stem, the net without blocks.
        provenance: Where the figure is from.
        stats: What is needed to trust it: ``sd_ms`` (its standard error), ``chain_lengths``,
            ``chain_ms``, ``samples``.
    """

    key: UnitKey
    latency_ms: float
    provenance: Provenance
    stats: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def sd_ms(self) -> float:
        """Standard error of the latency; 0 where it was not recorded."""
        return float(self.stats.get("sd_ms", 0.0))


def dict_from_row(row: TableRow) -> dict[str, Any]:
    """Turn a row into plain JSON values."""
    return {
        "key": dict_from_key(row.key),
        "latency_ms": row.latency_ms,
        "provenance": row.provenance,
        "stats": dict(row.stats),
    }


def row_from_dict(values: object) -> TableRow:
    """Read a row back from ``dict_from_row``'s form.

    Raises:
        NuwaError: If a field is missing or wrong, or a latency or its error is no finite number.
    """
    found = checked.mapping(values, "a row of a latency table")
    key, latency_ms, provenance, stats = (
        checked.field(found, name, where="a row of a latency table")
        for name in ("key", "latency_ms", "provenance", "stats")
    )
    stats = dict(checked.mapping(stats, "stats"))
    if "sd_ms" in stats:
        checked.finite(stats["sd_ms"], "sd_ms", low=0, high=MAX_MS)
    return TableRow(
        key=key_from_dict(key),
        latency_ms=checked.finite(latency_ms, "latency_ms", low=-MAX_MS, high=MAX_MS),
        provenance=cast(Provenance, checked.one_of(provenance, "provenance", get_args(Provenance))),
        stats=stats,
    )


def table_id(rows: Sequence[TableRow]) -> str:
    """Identify the content of a table whatever the order of its rows: 16 hex digits of SHA-256."""
    lines = sorted(json.dumps(dict_from_row(row), sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
