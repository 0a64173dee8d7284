"""Latency tables as CSV and Parquet files."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nuwa_search.core import checked
from nuwa_search.core.documents import MAX_BYTES, json_from_text, read_text
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
_LATER = ("rope_dim", "img_width")  # files of before have no such columns, and their rows the default
_BOOLEANS = ("qkv_bias", "pre_norm")
_TEXTS = ("kind", "company", "norm", "act", "global_pool", "final_norm")
_FIRST_COLUMNS = (*_TEXTS[:2], *_INTEGERS, *_TEXTS[2:], *_BOOLEANS, "latency_ms", "sd_ms", "provenance", "stats")
COLUMNS = (*_FIRST_COLUMNS, *_LATER)

MAX_FILE_BYTES = 64 * 2**20
"""Of a table, unpacked: a row takes about 500 bytes, and the largest table here has some ten thousand."""
MAX_ROWS = 100_000
"""Of a table."""
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_MAX_DIGITS = 40
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
        content = read_text(path, what="latency table", hint=_WRITES_ONE, max_bytes=MAX_FILE_BYTES)
        try:
            records: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(content, newline="")))
        except csv.Error as error:
            raise NuwaError(f"{path} is not a CSV file: {error}", hint=_WRITES_ONE) from error
    elif path.suffix == ".parquet":
        records = _parquet_records(path)
    else:
        raise _unknown_ending(path)
    return [_row(record, number, path) for number, record in enumerate(records, start=1)]


def _parquet_records(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise NuwaError(f"{path} has {size} bytes, at most {MAX_FILE_BYTES} are read", hint=_WRITES_ONE)
        file = parquet.ParquetFile(path, thrift_string_size_limit=MAX_BYTES, thrift_container_size_limit=MAX_ROWS)
        names, metadata = file.schema_arrow.names, file.metadata
        groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        if len(set(names)) != len(names) or not _are_columns(names):
            raise NuwaError(f"{path} has other columns than a latency table: {checked.shown(names)}", hint=_WRITES_ONE)
        # what the footer promises is looked at before anything is unpacked: sizes in it set allocations
        if not (0 <= metadata.num_rows <= MAX_ROWS and 0 <= unpacked <= MAX_FILE_BYTES):
            raise NuwaError(f"{path} says it holds {metadata.num_rows} rows in {unpacked} bytes", hint=_WRITES_ONE)
        records: list[dict[str, Any]] = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise NuwaError(f"{path} is not a Parquet file: {str(error)[:200]}", hint=_WRITES_ONE) from error
    return records


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
        if not _are_columns(record):
            raise NuwaError(f"columns {sorted(set(record) ^ set(COLUMNS), key=str)[:20]} are missing or unknown")
        kind = StemKey if record["kind"] == "stem" else BlockKey
        names = [*_field_names(kind), "kind"]
        names = [name for name in names if name not in _LATER or record.get(name) not in (None, "")]
        stats = dict(checked.mapping(json_from_text(checked.text(record["stats"], "stats"), what="stats"), "stats"))
        if record["sd_ms"] not in (None, ""):
            stats["sd_ms"] = _number("sd_ms", record["sd_ms"])
        return row_from_dict(
            {
                "key": {name: _value(name, record[name]) for name in names},
                "latency_ms": _number("latency_ms", record["latency_ms"]),
                "provenance": record["provenance"],
                "stats": stats,
            }
        )
    except NuwaError as error:
        raise NuwaError(f"{path}, row {number}: {error.message}", hint="export the table again") from error


def _are_columns(names: Iterable[str]) -> bool:
    return set(_FIRST_COLUMNS) <= set(names) <= set(COLUMNS)


def _field_names(kind: type[StemKey] | type[BlockKey]) -> tuple[str, ...]:
    if kind is StemKey:
        return tuple(StemKey.__dataclass_fields__)
    return ("company", "num_heads", "qk_dim", "v_dim", "mlp_width", *BlockContext.__dataclass_fields__)


def _value(name: str, found: object) -> object:
    """Read a cell; in CSV every one is text, in Parquet each has its type."""
    if name in _INTEGERS or name in _LATER:
        return int(found) if isinstance(found, str) and _INTEGER.fullmatch(found) else checked.integer(found, name)
    if name in _BOOLEANS:
        if str(found) not in ("True", "False"):
            raise NuwaError(f"{name} must be True or False, found {checked.shown(found)}")
        return str(found) == "True"
    return found


def _number(name: str, found: object) -> float:
    try:
        number = float(found) if isinstance(found, str) and len(found) < _MAX_DIGITS else checked.finite(found, name)
    except ValueError as error:
        raise NuwaError(f"{name} must be a number, found {checked.shown(found)}") from error
    if not math.isfinite(number):
        raise NuwaError(f"{name} must be a finite number, found {checked.shown(found)}")
    return number


def _unknown_ending(path: Path) -> NuwaError:
    return NuwaError(f"a latency table is a .csv or .parquet file, not {path.name}", hint="give -o table.csv")
