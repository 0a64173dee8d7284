"""What latency tables hold, flat: one row per measured unit."""

from typing import Any

from nuwa_search.service.api.context import Page, moment
from nuwa_search.store.lut_rows import count_lut_rows, find_lut_rows
from nuwa_search.store.store import Store

MOST_ROWS = 20_000
"""Rows that widths are collected from; a table that is fitted to has hundreds."""


# Widths by which the map of a table is drawn, per kind of unit.
_AXES = {"attn": ("num_heads", "qk_dim", "v_dim"), "mlp": ("mlp_width",)}
_KIND_AXES = {"block": (*_AXES["attn"], *_AXES["mlp"]), **_AXES}


def coverage_page(
    store: Store, page: Page, *, device_id: str | None = None, lut_id: str | None = None
) -> dict[str, Any]:
    """Render a page of a device's tables, or of one table, with the number of all rows and all widths.

    Args:
        store: The database.
        page: Offset and most rows of the page.
        device_id: Device whose tables are listed; None for all devices.
        lut_id: Latency table that is listed; None for all tables.
    """
    count = count_lut_rows(store, device_id=device_id, lut_id=lut_id)
    known = find_lut_rows(store, device_id=device_id, lut_id=lut_id, limit=MOST_ROWS)
    part = known[page.offset : page.offset + page.limit]
    if page.offset + page.limit > len(known) and len(known) < count:
        part = find_lut_rows(store, device_id=device_id, lut_id=lut_id, limit=page.limit, offset=page.offset)
    return {
        "axes": axes_of_rows([row["key"] for row in known]),
        "rows": [_flat(row) for row in part],
        "count": count,
        "next_offset": page.next_offset(count),
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    where = {"lut_id": row["lut_id"], "protocol_id": row["protocol_id"]}
    figure = {"latency_ms": row["latency_ms"], "provenance": row["provenance"], "created_at": moment(row["created_at"])}
    return where | dict(row["key"]) | figure


def axes_of_rows(keys: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Collect the widths that were measured, per kind of unit."""
    axes: dict[str, dict[str, set[int]]] = {}
    for key in keys:
        for name in _KIND_AXES.get(str(key.get("kind")), ()):
            if name in key:
                axes.setdefault(key["kind"], {}).setdefault(name, set()).add(key[name])
    return {kind: {name: sorted(values) for name, values in found.items()} for kind, found in axes.items()}
