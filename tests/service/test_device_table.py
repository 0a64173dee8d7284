"""Latency tables leave the database as files and come back."""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from nuwa_search.core.arch import BlockSpec
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.table.device_table import store_rows, table_of
from nuwa_search.latency.table.files import read_table, write_table
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, context_of, stem_of
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.closed_form_device import BASE

NANO = EMULATED_SPECS["jetson-nano"]
ROWS = [
    TableRow(stem_of(BASE), 0.25, "emulated", {"sd_ms": 0.01}),
    TableRow(BlockKey(BlockSpec(2, 8, 16, 0), context_of(BASE)), 0.5, "emulated", {"samples": [20, 20]}),
    TableRow(BlockKey(BlockSpec(2, 8, 16, 32), context_of(BASE)), 0.75, "emulated", {}),
]


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = str(tmp_path / "nuwa.sqlite")
    with open_store(path) as store:
        store_rows(store, NANO, ROWS)
    return path


def by_latency(rows: Sequence[TableRow]) -> list[TableRow]:
    return sorted(rows, key=lambda row: row.latency_ms)


def device(*args: str) -> int:
    return run(cli, ["device", *args], prog_name="nuwa")


@pytest.mark.parametrize("name", ["sub/table.csv", "table.parquet"])
def test_a_table_goes_out_and_into_another_database(db: str, tmp_path: Path, name: str) -> None:
    file, other = tmp_path / name, str(tmp_path / "other.sqlite")
    assert device("show", "jetson-nano", "--table", "-o", str(file), "--db", db, "-q") == 0
    assert by_latency(read_table(file)) == ROWS
    assert device("load", "jetson-nano", str(file), "--db", other, "-q") == 0
    with open_store(other) as store:
        assert by_latency(table_of(store, NANO)) == ROWS


def test_a_table_is_shown(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert device("show", "jetson-nano", "--table", "--csv", "--db", db) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    shown = sorted((float(row["latency_ms"]), row["kind"]) for row in rows)
    assert shown == [(0.25, "stem"), (0.5, "attn"), (0.75, "block")]
    assert device("show", "jetson-nano", "--table", "--json", "--db", db) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["device"]["name"] == "jetson-nano"
    assert sorted(row["latency_ms"] for row in answer["table"]) == [0.25, 0.5, 0.75]


def test_no_table_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "a.sqlite")
    assert device("show", "host", "--table", "--db", db) == 2
    assert f"hint: nuwa profile --db {db} host" in capsys.readouterr().err


def test_known_rows_are_replaced_only_when_that_is_said(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.csv"
    new = TableRow(BlockKey(BlockSpec(1, 8, 16, 0), context_of(BASE)), 0.3, "emulated", {})
    write_table([ROWS[0], dataclasses.replace(ROWS[1], latency_ms=0.6), new], file)
    assert device("load", "jetson-nano", str(file), "--db", db) == 2
    assert "add -y" in capsys.readouterr().err
    assert device("load", "jetson-nano", str(file), "--db", db, "--dry-run", "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["added"], counts["replaced"], counts["same"]) == (1, 1, 1)
    with open_store(db) as store:
        assert by_latency(table_of(store, NANO)) == ROWS
    assert device("load", "jetson-nano", str(file), "--db", db, "-y", "-q") == 0
    with open_store(db) as store:
        assert [row.latency_ms for row in by_latency(table_of(store, NANO))] == [0.25, 0.3, 0.6, 0.75]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([dataclasses.replace(ROWS[0], provenance="measured")], "row 1 is measured"),
        ([ROWS[1], dataclasses.replace(ROWS[0], latency_ms=float("nan"))], "row 2: latency_ms must be a finite number"),
        ([dataclasses.replace(ROWS[0], latency_ms=-1.0)], "row 1 has the latency -1"),
        ([ROWS[1], ROWS[1]], "row 2 comes twice"),
    ],
)
def test_rows_that_cannot_be_are_refused(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[TableRow], message: str
) -> None:
    write_table(rows, tmp_path / "table.csv")
    assert device("load", "jetson-nano", str(tmp_path / "table.csv"), "--db", db) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "hint:" in err


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "bytes.csv", "bytes.parquet", "table.txt", "."])
def test_files_that_are_no_tables_are_refused(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for bad in ("bytes.csv", "bytes.parquet"):
        (tmp_path / bad).write_bytes(bytes(range(128, 256)) * 3)
    (tmp_path / "table.txt").write_text("kind\n")
    assert device("load", "jetson-nano", str(tmp_path / name), "--db", db) == 2
    assert "hint:" in capsys.readouterr().err
