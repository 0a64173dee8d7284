"""A study that commit 494cfc3 began and left is listed, goes on where it was, and ends in a bundle."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from nuwa_search.search.recording.records import optuna_url
from nuwa_search.search.study import stored_trials
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.lend_profile import lend_profile

LEFT = Path(__file__).resolve().parents[1] / "data" / "study_494cfc3.sqlite"
"""Four of eight subnets of the toy base were scored when it was interrupted. Its folders read `/left/…` and its rows of
single measurements were taken out: a resumed study reads the table and the predictor."""


@pytest.fixture
def left(tmp_path: Path, toy_base: Path, toy_images: Path, profiled_db: Path) -> Path:
    """A copy of the database in which the study's folders are those of here."""
    path = tmp_path / "nuwa.sqlite"
    shutil.copy(LEFT, path)
    with sqlite3.connect(path) as connection:
        (text,) = connection.execute("select settings from nuwa_searches").fetchone()
        settings = json.loads(text)
        assert (settings["base"], settings["data"], settings["bundle_dir"]) == (
            "/left/base",
            "/left/images",
            "/left/bundle",
        )
        settings |= {"base": str(toy_base), "data": str(toy_images), "bundle_dir": str(tmp_path / "bundle")}
        connection.execute("update nuwa_searches set settings = ?", (json.dumps(settings),))
    connection.close()
    lend_profile(profiled_db, path)
    return path


def test_a_study_of_an_earlier_version_goes_on(left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["query", "studies", "--db", str(left), "--json"], prog_name="nuwa") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["study"], row["state"], row["budget_ms"]) == ("S", "interrupted", 1.2)

    line = ["--study", "S", "--resume", "--db", str(left), "--cache-dir", str(tmp_path / "cache"), "--json", "-q"]
    assert run(command, [*line, "--no-finetune", "-o", str(tmp_path / "other")], prog_name="nuwa-search") == 2
    assert "was started without --no-finetune" in capsys.readouterr().err
    with open_store(str(left)) as store:
        firsts = [trial.arch_id for trial in stored_trials(optuna_url(store), "S")]
    assert run(command, [*line[:-1], "--trials", "7", "--budget-ms", "1.2"], prog_name="nuwa-search") == 0
    said = capsys.readouterr()
    assert "it goes on as study 'S-emulator-2'" in said.err
    answer = json.loads(said.out)
    assert (answer["study"], answer["trials"]["scored"]) == ("S-emulator-2", 7)
    assert answer["artifacts"]["dir"] == str(tmp_path / "bundle")
    with open_store(str(left)) as store:
        records = {record.study: record for record in store.searches()}
        trials = sorted(store.trials("S-emulator-2"), key=lambda trial: trial["number"])
        rows = store.latencies.find()
    assert [record.state for record in (records["S"], records["S-emulator-2"])] == ["interrupted", "done"]
    assert records["S"].device_id != records["S-emulator-2"].device_id
    assert records["S"].task_id == records["S-emulator-2"].task_id == "f48b80f558e7fcde"  # images are made as they were
    assert len(firsts) == 4
    assert [trial["arch_id"] for trial in trials[:4]] == firsts
    assert {row["device_id"] for row in rows} == {records["S-emulator-2"].device_id}  # nothing of them is the other's
    assert len(rows) >= 7

    line = [*line, "--trials", "7", "--dry-run"]  # resumed again, it is the study that went on
    assert run(command, line, prog_name="nuwa-search") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["study"], plan["from_study"], plan["trials"]) == ("S-emulator-2", "S", 7)
