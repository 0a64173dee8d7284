import csv
from dataclasses import replace
from pathlib import Path

import pytest

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.files import COLUMNS, read_table, write_table
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, context_of, stem_of
from tests.support.closed_form_device import BASE

ROWS = [
    TableRow(stem_of(BASE), 0.25, "measured", {"sd_ms": 0.01, "chain_ms": [0.25]}),
    TableRow(
        BlockKey(BlockSpec(2, 8, 16, 0), context_of(BASE), "busy"), 0.1234567890123, "emulated", {"samples": [20, 20]}
    ),
    TableRow(stem_of(replace(BASE, img_size=(40, 24))), 0.5, "measured", {"sd_ms": 0.02}),
]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_tables_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_table(ROWS, path)
    assert read_table(path) == ROWS


def test_csv_has_one_line_per_row(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(ROWS, path)
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + len(ROWS)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match=r"table\.xlsx"):
        write_table(ROWS, tmp_path / "table.xlsx")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(ROWS, path)
    path.write_text(path.read_text().replace("0.1234567890123", "quick"))
    with pytest.raises(NuwaError, match="row 2"):
        read_table(path)


def test_a_missing_column_and_a_missing_file_are_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(NuwaError, match="no latency table"):
        read_table(path)
    path.write_text("kind,latency_ms\nattn,1\n")
    with pytest.raises(NuwaError, match="missing"):
        read_table(path)


def test_a_damaged_parquet_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(NuwaError, match="not a Parquet file"):
        read_table(path)


@pytest.mark.parametrize("column", ["latency_ms", "sd_ms", "embed_dim", "stats"])
@pytest.mark.parametrize("cell", ["1e999", "nan", "inf", "true", "9" * 50, "[" * 3000])
def test_a_cell_that_is_no_number_is_refused(tmp_path: Path, column: str, cell: str) -> None:
    path = tmp_path / "table.csv"
    write_table(ROWS, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    rows[0][column] = cell
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(NuwaError, match="row 1"):
        read_table(path)
