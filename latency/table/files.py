"""Latency tables as CSV and Parquet files."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow, dict_from_row, row_from_dict
from nuwa_search.latency.table.unit import BlockContext, BlockKey, StemKey

# Columns of the key, those of blocks and those of stems side by side; what does not apply is empty.
_INTEGERS = (
    "num_heads",
    "qk_dim",
    "v_dim",
    "mlp_width",
    "embed_dim",
    "num_tokens",
    "num_classes",
    "img_size",
    "patch_size",
    "in_chans",
    "num_prefix_tokens",
)
_BOOLEANS = ("qkv_bias", "pre_norm")
_TEXTS = ("kind", "company", "norm", "act", "global_pool", "final_norm")
COLUMNS = (*_TEXTS[:2], *_INTEGERS, *_TEXTS[2:], *_BOOLEANS, "latency_ms", "sd_ms", "provenance", "stats")

_WRITES_ONE = "nuwa device show DEVICE --table -o FILE writes one"


def write_table(rows: Sequence[TableRow], path: Path) -> None:
    """Write rows to ``path``; the ending, ``.csv`` or ``.parquet``, chooses the format.

    Raises:
        NuwaError: If the ending is another.
    """
    records = [dict_from_table_row(row) for row in rows]
    if path.suffix == ".csv":
        path.write_text(_csv_text(records))
    elif path.suffix == ".parquet":
        import pyarrow as pa  # Arrow takes long to load and only this format needs it
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(records), path)
    else:
        raise _unknown_ending(path)


def read_table(path: Path) -> list[TableRow]:
    """Read rows that ``write_table`` wrote.

    Raises:
        NuwaError: If the file is missing, damaged, or not a latency table.
    """
    if not path.is_file():
        raise NuwaError(f"no latency table at {path}", hint=_WRITES_ONE)
    if path.suffix == ".csv":
        try:
            with path.open(newline="") as file:
                records: list[dict[str, Any]] = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise NuwaError(f"{path} is not a CSV file: {error}", hint=_WRITES_ONE) from error
    elif path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        try:
            records = parquet.read_table(path).to_pylist()
        except pa.ArrowInvalid as error:
            raise NuwaError(f"{path} is not a Parquet file: {error}", hint=_WRITES_ONE) from error
    else:
        raise _unknown_ending(path)
    return [_row(record, number, path) for number, record in enumerate(records, start=1)]


def dict_from_table_row(row: TableRow) -> dict[str, Any]:
    """Lay a row out in ``COLUMNS``; what does not apply to its kind of unit is None."""
    values = dict_from_row(row)
    stats = dict(values["stats"])
    known = values["key"] | {
        "latency_ms": values["latency_ms"],
        "sd_ms": stats.pop("sd_ms", None),
        "provenance": values["provenance"],
        "stats": json.dumps(stats, sort_keys=True),
    }
    return {column: known.get(column) for column in COLUMNS}


def _csv_text(records: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _row(record: dict[str, Any], number: int, path: Path) -> TableRow:
    try:
        if set(record) != set(COLUMNS):
            raise NuwaError(f"columns {sorted(set(record) ^ set(COLUMNS), key=str)} are missing or unknown")
        kind = StemKey if record["kind"] == "stem" else BlockKey
        names = (*_field_names(kind), "kind")
        stats = json.loads(record["stats"])
        if record["sd_ms"] not in (None, ""):
            stats["sd_ms"] = float(record["sd_ms"])
        return row_from_dict(
            {
                "key": {name: _value(name, record[name]) for name in names},
                "latency_ms": record["latency_ms"],
                "provenance": record["provenance"],
                "stats": stats,
            }
        )
    except (NuwaError, ValueError, TypeError) as error:
        raise NuwaError(f"{path}, row {number}: {error}", hint="export the table again") from error


def _field_names(kind: type[StemKey] | type[BlockKey]) -> tuple[str, ...]:
    if kind is StemKey:
        return tuple(StemKey.__dataclass_fields__)
    return ("company", "num_heads", "qk_dim", "v_dim", "mlp_width", *BlockContext.__dataclass_fields__)


def _value(name: str, text: Any) -> Any:
    if name in _INTEGERS:
        return int(text)
    if name in _BOOLEANS:
        if str(text) not in ("True", "False"):
            raise ValueError(f"{name} must be True or False, found {text!r}")
        return str(text) == "True"
    return text


def _unknown_ending(path: Path) -> NuwaError:
    return NuwaError(f"a latency table is a .csv or .parquet file, not {path.name}", hint="give -o table.csv")
