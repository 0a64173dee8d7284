"""Rows as a file: CSV, TSV, JSON or Parquet, by its ending."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.service.cli.terminal import cell, plain

Rows = Sequence[Mapping[str, Any]]
ENDINGS = (".csv", ".tsv", ".json", ".parquet")


def check_ending(path: Path) -> None:
    """Refuse a file whose format is not known, before anything is computed.

    Raises:
        NuwaError: If the ending is none of ``ENDINGS``.
    """
    if path.suffix not in ENDINGS:
        raise NuwaError(
            f"rows are written as {', '.join(ENDINGS)}, and {path.name} ends otherwise", hint="such as -o rows.csv"
        )
    if path.is_dir():
        raise NuwaError(f"{path} is a folder, and a file is wanted for the rows", hint="such as -o rows.csv")


def write_rows(path: Path, rows: Rows, names: Sequence[str], *, document: Mapping[str, Any]) -> None:
    """Write rows to ``path``; a JSON file holds the whole answer.

    Args:
        path: File to write; its folder is made.
        rows: Rows to write.
        names: Columns in their order, also of an empty answer.
        document: The answer as ``--json`` prints it.

    Raises:
        NuwaError: If the ending is not known.
    """
    check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json_text(document))
    elif path.suffix == ".parquet":
        _write_parquet(path, rows, names)
    else:
        path.write_text(delimited(rows, names, "," if path.suffix == ".csv" else "\t"))


def json_text(document: Mapping[str, Any]) -> str:
    """Write a JSON document; NaN is refused."""
    return json.dumps(document, indent=2, allow_nan=False, default=plain) + "\n"


def delimited(rows: Rows, names: Sequence[str], delimiter: str) -> str:
    """Write rows as CSV or TSV without truncation; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row.get(name) is None else cell(row[name]) for name in names])
    return buffer.getvalue()


def _write_parquet(path: Path, rows: Rows, names: Sequence[str]) -> None:
    import pyarrow as pa  # takes longer to load than a query to run
    from pyarrow import parquet

    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        # Settings and results differ from row to row, and a column of Parquet has one shape.
        if any(isinstance(value, dict) for value in values):
            values = [None if value is None else cell(value) for value in values]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers beside texts, as in a list of facts
            columns[name] = pa.array([None if value is None else cell(value) for value in values])
    parquet.write_table(pa.table(columns), path)
