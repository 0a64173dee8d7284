"""Answers go where they were sent: a file gets the format its ending names, and hints run as pasted."""

import csv
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.service.cli.main import COMMANDS, cli, run
from nuwa_search.service.cli.pasted import with_db

ROW_VERBS = (
    ["device", "ls"],
    ["device", "show", "jetson-nano"],
    ["config", "show"],
    ["env"],
    ["db", "check"],
    ["measure", "net.onnx"],
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small graph, and a database of its own."""
    monkeypatch.chdir(tmp_path)
    arch = Arch(blocks=(BlockSpec(2, 8, 8, 32),) * 2, embed_dim=16, num_classes=3, img_size=16, patch_size=8)
    (tmp_path / "net.onnx").write_bytes(onnx_from_arch(arch, opset=13).SerializeToString())
    monkeypatch.setenv("NUWA_DB", str(tmp_path / "a.sqlite"))
    assert nuwa("db", "upgrade", "-q") == 0
    return tmp_path


def nuwa(*args: str) -> int:
    return run(cli, list(args), prog_name="nuwa")


def rows_in(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return [{str(name): value for name, value in row.items()} for row in pd.read_parquet(path).to_dict("records")]
    if path.suffix == ".json":
        document = json.loads(path.read_text())
        assert document["schema"].startswith("nuwa.")
        return [document]
    with path.open() as lines:
        return list(csv.DictReader(lines, delimiter="," if path.suffix == ".csv" else "\t"))


@pytest.mark.parametrize("verb", ROW_VERBS, ids=" ".join)
@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "parquet"])
def test_a_file_holds_the_format_its_ending_names(
    here: Path, verb: list[str], ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "out" / f"rows.{ending}"
    assert nuwa(*verb, "-o", str(path)) == 0
    assert capsys.readouterr().out == ""
    assert rows_in(path)


@pytest.mark.parametrize("verb", ROW_VERBS, ids=" ".join)
def test_another_ending_or_two_formats_are_wrong_use(
    here: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (["-o", "rows.xyz"], ["-o", "rows"], ["--json", "-o", "rows.csv"], ["--csv", "-o", "rows.parquet"]):
        assert nuwa(*verb, *more) == 2, more
        assert "rows" in capsys.readouterr().err
        assert not Path(more[-1]).exists()


def test_measure_stores_what_it_measured_and_its_csv_holds_the_figures(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nuwa("measure", "net.onnx", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert nuwa("measure", "net.onnx", "--csv") == 0
    shown = capsys.readouterr()
    figures = {
        row["figure"]: float(row["ms"] or row["share"])
        for row in csv.DictReader(shown.out.splitlines())
        if row["figure"]
    }
    assert figures["median"] == pytest.approx(answer["latency_ms"]["median"], rel=0.05)
    assert set(figures) == {"median", "mean", "p50", "p90", "p95", "p99", "min", "max", "cv"}
    command = re.search(r"nuwa query latencies .*", shown.err)
    assert command is not None
    for line in (shlex.split(command[0])[1:], ["query", "latencies", "--model", answer["onnx_hash"]]):
        assert nuwa(*line, "--json") == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert len(rows) == 2
        assert {row["provenance"] for row in rows} == {"emulated"}
        assert answer["latency_ms"]["median"] in [row["latency_ms"] for row in rows]


def test_hints_name_the_database_in_use_and_run_as_pasted(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUWA_DB")
    db = str(here / "with space.sqlite")
    assert nuwa("db", "upgrade", "-q", "--db", db) == 0
    assert nuwa("measure", "net.onnx", "--db", db) == 0
    noted = re.search(r"nuwa query .*", capsys.readouterr().err)
    assert noted is not None
    assert nuwa(*shlex.split(noted[0])[1:], "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nuwa profile lab", "nuwa profile --db a.db lab"),
        ("nuwa query studies lists them", "nuwa query --db a.db studies lists them"),
        ("nuwa device ls; or nuwa-search --resume", "nuwa device ls --db a.db; or nuwa-search --db a.db --resume"),
        ("`nuwa config show` says where it is from", "`nuwa config show` says where it is from"),
        ("try nuwa collaborate probe DIR", "try nuwa collaborate probe DIR"),
        ("nuwa is a tool", "nuwa is a tool"),
        ("pip install --upgrade nuwa-search", "pip install --upgrade nuwa-search"),
        ("in /root/.cache/nuwa-search and more", "in /root/.cache/nuwa-search and more"),
        ("pip install 'nuwa-search[demo]'", "pip install 'nuwa-search[demo]'"),
        ("nuwa verify d --db b.db", "nuwa verify d --db b.db"),
    ],
)
def test_commands_in_a_text_get_the_database(text: str, wanted: str) -> None:
    assert with_db(text, "a.db", verbs=COMMANDS) == wanted
    assert with_db(text, None, verbs=COMMANDS) == text


def test_a_password_is_never_printed() -> None:
    shown = with_db("nuwa query", "postgresql://me:secret@host/db", verbs=COMMANDS)
    assert "secret" not in shown
    assert "postgresql://me:***@host/db" in shlex.split(shown)
