"""``nuwa query`` on a small database: every topic, every format, narrow terminals."""

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nuwa_search.search.derive_command import with_budget_commands
from nuwa_search.service.cli.main import cli, run
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.query_view import curve_lines, show_studies
from nuwa_search.service.cli.terminal import fitting, print_table
from nuwa_search.store.budget import explain_budget
from nuwa_search.store.records import CertificateRecord, SearchTerms
from nuwa_search.store.store import open_store
from nuwa_search.store.studies import find_studies
from nuwa_search.store.subnet_columns import COLUMNS
from tests.support.store_values import (
    BASE,
    BOARD,
    BOARDS,
    NANO,
    TASK,
    measured,
    prediction,
    record_basics,
    subnet,
    top1,
)

LATENCIES = (2.0, 3.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four subnets on two devices, each slower one more accurate; the first is measured and certified."""
    path = tmp_path_factory.mktemp("query") / "nuwa.sqlite"
    with open_store(str(path)) as store:
        record_basics(store)
        store.record_subnets(subnet(n) for n in range(4))
        store.record_scores(top1(n, 0.5 + n / 10) for n in range(4))
        store.record_predicted_latencies(
            prediction(n, ms * scale, device=device)
            for (n, ms), (device, scale) in itertools.product(enumerate(LATENCIES), ((NANO, 1.0), (BOARD, 0.5)))
        )
        measurement = store.save_measurement(measured(2.25), subnet_id="subnet-0")
        store.record_certificate(
            CertificateRecord("subnet-0", NANO.device_id, 5.0, "met (emulated)", {}, measurement, "bundle/c.json")
        )
        store.record_collaboration(BOARDS)
    return str(path)


def ask(db: str, *args: str) -> int:
    return run(cli, ["query", *args, "--db", db], prog_name="nuwa")


def answer(db: str, capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    assert ask(db, *args, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "nuwa.query/1"
    assert document["count"] == len(document["rows"])
    rows: list[dict[str, Any]] = document["rows"]
    return rows


@pytest.mark.parametrize(
    ("args", "count"),
    [
        ([], 8),
        (["--device", "lab-nano", "--max-ms", "2"], 3),
        (["latencies"], 9),
        (["latencies", "--measured-only"], 1),
        (["latencies", "--model", "subnet-0"], 3),
        (["latencies", "--device", "jetson-nano", "--max-ms", "3.5"], 3),
        (["studies", "--classes", "bus,train", "--base", "vit_tiny", "--device", "jetson-nano"], 0),
        (["devices"], 2),
        (["devices", "--device", "lab-nano"], 1),
        (["certificates", "--model", "subnet-0", "--max-ms", "3"], 1),
        (["certificates", "--model", subnet(0).arch.arch_id], 1),
        (["certificates", "--device", "lab-nano"], 0),
        (["collaborations", "--device", "lab-nano", "--base", "vit_tiny", "--classes", "bus,train"], 1),
        (["collaborations", "--device", "jetson-orin-nano"], 0),
        (["collaborations", "--max-ms", "5"], 0),
        (["--sql", "SELECT subnet_id FROM v_subnets", "--limit", "3"], 3),
    ],
)
def test_every_topic_takes_its_filters(
    db: str, capsys: pytest.CaptureFixture[str], args: list[str], count: int
) -> None:
    assert len(answer(db, capsys, *args)) == count


@pytest.mark.parametrize(
    "args",
    [
        ["latencies", "--classes", "bus,train"],
        ["studies", "--max-ms", "3"],
        ["devices", "--pareto"],
        ["--compare", "jetson-nano,lab-nano"],
        ["--sql", "SELECT 1", "--device", "jetson-nano"],
        ["--explain-budget", "--pareto"],
        ["latencies", "--explain-budget"],
    ],
)
def test_a_filter_that_would_be_ignored_is_refused(
    db: str, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert ask(db, *args) == 2
    assert "says nothing about" in capsys.readouterr().err


def test_a_setting_that_says_nothing_about_a_topic_is_no_mistake(
    db: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUWA_CLASSES", "bus,train")
    assert len(answer(db, capsys, "latencies")) == 9


def test_a_budget_is_explained(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = answer(db, capsys, "--explain-budget", "--device", "jetson-nano", "--max-ms", "3.5")
    with open_store(db) as store:
        plain = explain_budget(store, device="jetson-nano", max_ms=3.5)
        assert found == json.loads(json.dumps(with_budget_commands(plain, store)[0].to_json()))
    assert ask(db, "--explain-budget", "--device", "jetson-nano", "--max-ms", "3.5", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["step"], float(row["latency_ms"])) for row in rows] == [
        ("-1", 2.25),
        ("best", 3.0),
        ("+1", 4.0),
        ("+2", 6.0),
    ]
    assert [round(float(row["extra_top1"]), 9) for row in rows] == [-0.1, 0.0, 0.1, 0.2]


def test_a_budget_without_limit_is_the_curve(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(db, capsys, "--explain-budget")
    assert [(row["device"], row["best"]["subnet_id"], row["steps_up"]) for row in found] == [
        ("lab-nano", "subnet-3", []),
        ("jetson-nano", "subnet-3", []),
    ]


def test_a_curve_shows_what_each_budget_buys() -> None:
    points = [{"measured_latency_ms": ms, "predicted_latency_ms": None, "top1": ms / 10} for ms in (1.0, 4.0, 8.0)]
    lines = curve_lines(points, 4.5)
    assert lines[0].split()[0] == "1.00"
    assert lines[-1].endswith("80.0 %")
    (asked,) = [line for line in lines if "the budget" in line]
    assert asked.split()[0] == "4.50"
    assert "40.0 %" in asked
    assert "–" in curve_lines(points, 0.5)[0]
    assert len(curve_lines(points[:1], None)) == 1


def test_devices_are_put_side_by_side(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(db, capsys, "devices", "--compare", "jetson-nano,lab-nano", "--limit", "2")
    assert [row["subnet_id"] for row in rows] == ["subnet-3", "subnet-2"]
    assert rows[0]["latencies"]["lab-nano"]["latency_ms"] == 3.0
    assert ask(db, "devices", "--compare", "jetson-nano,lab-nano", "--csv") == 0
    flat = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["latency_ms.jetson-nano"]) for row in flat] == [6.0, 4.0, 3.0, 2.25]
    assert [row["is_measured.jetson-nano"] for row in flat] == ["False", "False", "False", "True"]


@pytest.mark.parametrize("devices", ["jetson-nano", "jetson-nano,jetson-nano", ","])
def test_a_comparison_needs_two_devices(db: str, capsys: pytest.CaptureFixture[str], devices: str) -> None:
    assert ask(db, "devices", "--compare", devices) == 2
    assert "two devices" in capsys.readouterr().err


def test_files_hold_the_rows_in_every_format(db: str, tmp_path: Path) -> None:
    for ending in ("csv", "tsv", "json", "parquet"):
        assert ask(db, "-q", "--sort", "latency", "-o", str(tmp_path / "sub" / f"rows.{ending}")) == 0
    folder = tmp_path / "sub"
    frames = [
        pd.read_csv(folder / "rows.csv"),
        pd.read_csv(folder / "rows.tsv", sep="\t"),
        pd.DataFrame(json.loads((folder / "rows.json").read_text())["rows"]),
        pd.read_parquet(folder / "rows.parquet"),
    ]
    for frame in frames:
        assert sorted(frame.columns) == sorted([*COLUMNS, "derive_command"])
        assert frame["subnet_id"].tolist() == frames[0]["subnet_id"].tolist()
    assert frames[3]["predicted_interval_ms"].iloc[0].tolist() == [0.9, 1.1]


def test_study_of_several_devices_tells_and_is_found_by_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "nuwa.sqlite")
    with open_store(path) as store:
        record_basics(store)
        for name, more in (("both", ["8.5@lab_nano"]), ("other", ["8.5@labxnano"]), ("one", [])):
            terms = SearchTerms(NANO.device_id, 30.0, settings={"budget_ms": 30.0, "more_budgets": more})
            store.finish_search(store.start_search(name, terms), "failed")
    rows = {row["study"]: row for row in answer(path, capsys, "studies")}
    assert rows["both"]["budgets"] == [
        {"device": "jetson-nano", "budget_ms": 30.0},
        {"device": "lab_nano", "budget_ms": 8.5},
    ]
    assert rows["one"]["budgets"] == [{"device": "jetson-nano", "budget_ms": 30.0}]
    assert [row["study"] for row in answer(path, capsys, "studies", "--device", "jetson-nano")] == [*rows]
    with open_store(path) as store:  # a name is no pattern
        assert [row["study"] for row in store.studies.find(device="lab_nano")] == ["both"]
        assert [record.study for record in find_studies(store, device="lab_nano", limit=9)] == ["both"]
    show_studies([rows["both"]], Output())
    assert "jetson-nano, lab_nano" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["devices"], ["latencies"], ["certificates"], ["studies"], ["--explain-budget"]])
def test_every_topic_can_be_a_parquet_file(db: str, tmp_path: Path, args: list[str]) -> None:
    assert ask(db, *args, "-q", "-o", str(tmp_path / "rows.parquet")) == 0
    assert len(pd.read_parquet(tmp_path / "rows.parquet").columns) > 5


def test_an_unknown_ending_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("/nowhere.sqlite", "-o", "rows.xlsx") == 2
    assert ".parquet" in capsys.readouterr().err


def test_a_column_that_comes_twice_is_not_lost(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(db, capsys, "--sql", "SELECT 1 AS a_2, 2 AS a, 3 AS a, 4 AS a")
    assert rows == [{"a_2": 1, "a": 2, "a_3": 3, "a_4": 4}]


def test_no_row_is_still_a_table(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(db, "--device", "jetson-nano", "--max-ms", "0.1", "--csv") == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == ",".join([*COLUMNS, "derive_command"])
    assert captured.err.strip() == "nothing matches"


SUBNETS = tuple(f"subnet-{n}" for n in range(4))


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ([], SUBNETS),
        (["latencies"], (subnet(0).arch.arch_id,)),
        (["devices"], ("jetson-nano", "lab-nano")),
        (["certificates"], ("met (emulated)",)),
        (["devices", "--compare", "jetson-nano,lab-nano"], SUBNETS),
        (["--explain-budget", "--max-ms", "3.5"], SUBNETS),
        (["--explain-budget", "--max-ms", "0.5"], SUBNETS[:3]),
    ],
)
@pytest.mark.parametrize("width", [36, 80, 200])
def test_ids_stay_whole_on_every_terminal(
    db: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    names: Sequence[str],
    width: int,
) -> None:
    monkeypatch.setattr(Output, "is_terminal", property(lambda _self: True))
    monkeypatch.setenv("COLUMNS", str(width))
    assert ask(db, *args) == 0
    shown = capsys.readouterr().out
    assert [name for name in names if name not in shown] == []
    if width == 200 and not args:
        assert all(subnet(n).arch.arch_id in shown for n in range(4))


@pytest.mark.parametrize(("width", "kept"), [(200, 3), (13, 2), (8, 1), (1, 1)])
def test_the_first_columns_that_fit_are_kept(width: int, kept: int) -> None:
    assert fitting({"a": 5, "b": 6, "c": 90}, width) == ["a", "b", "c"][:kept]


def test_markup_in_a_cell_is_only_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows: Sequence[dict[str, object]] = [{"id": "0123456789abcdef", "note": "[red]one two three four five six[/red]"}]
    assert print_table(rows, ["id", "note"]) == []
    shown = capsys.readouterr().out
    assert "0123456789abcdef" in shown
    assert "[red]one" in shown


def test_classes_choose_the_task(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(db, capsys, "--classes", ",".join(reversed(TASK.classes)), "--pareto", "--device", "lab-nano")
    assert [row["subnet_id"] for row in rows] == ["subnet-3", "subnet-2", "subnet-1", "subnet-0"]


def test_a_terminal_shows_a_head_and_says_so(
    db: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Output, "is_terminal", property(lambda _self: True))
    monkeypatch.setattr("nuwa_search.service.cli.commands.query.ROWS_ON_TERMINAL", 2)
    assert ask(db, "--sort", "latency") == 0
    captured = capsys.readouterr()
    assert len(captured.out.strip().splitlines()) == 3
    assert "the first 2 rows" in captured.err
    assert ask(db, "--limit", "5") == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 6
    assert len(answer(db, capsys)) == 8


def test_every_point_of_a_front_comes_with_the_command_that_cuts_it_again(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(subnet_id: str) -> str:
        return f"nuwa derive --subnet {subnet_id} -o subnet-{subnet_id} --db {Path(db).absolute()}"

    front = answer(db, capsys, "--pareto")
    assert front
    assert [row["derive_command"] for row in front] == [command(row["subnet_id"]) for row in front]
    for budget in answer(db, capsys, "--explain-budget"):
        points = [*budget["curve"], *budget["steps_up"], *budget["steps_down"], budget["best"]]
        assert [row["derive_command"] for row in points] == [command(row["subnet_id"]) for row in points]


def test_figures_of_another_emulator_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = dataclasses.replace(NANO, options=())
    path = str(tmp_path / "nuwa.sqlite")
    with open_store(path) as store:
        record_basics(store)
        store.record_device(older)
        store.record_subnets([subnet(0), subnet(1)])
        store.record_predicted_latencies([prediction(0, 2.0, device=older), prediction(1, 3.0)])
    assert ask(path, "--device", "jetson-nano", "--json") == 0
    out, err = capsys.readouterr()
    assert [row["predicted_latency_ms"] for row in json.loads(out)["rows"]] == [3.0]
    assert "--device jetson-nano@emulator-1" in err
    assert "nuwa profile" in err
    assert [row["device"] for row in answer(path, capsys, "--device", "jetson-nano@emulator-1")] == [
        "jetson-nano@emulator-1"
    ]


def test_a_base_name_that_meant_several_nets_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "two.sqlite")
    with open_store(path) as store:
        record_basics(store)
        store.record_base(dataclasses.replace(BASE, base_id="base-later"))
    assert ask(path, "--base", BASE.name, "--json") == 0
    said = capsys.readouterr().err
    assert "has meant 2 nets here; these are of base-later" in said
    assert f"--base {BASE.base_id}" in said
    assert ask(path, "--base", BASE.base_id, "--json") == 0
    assert capsys.readouterr().err == ""
