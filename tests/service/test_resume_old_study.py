"""A study that commit 494cfc3 began and left is listed, goes on where it was, and ends in a bundle."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from tests.support.old_emulator import take_for_present_emulator

LEFT = Path(__file__).resolve().parents[1] / "data" / "study_494cfc3.sqlite"
"""Four of eight subnets of the toy base were scored when it was interrupted. Its folders read `/left/…` and its rows of
single measurements were taken out: a resumed study reads the table and the predictor."""


@pytest.fixture
def left(tmp_path: Path, toy_base: Path, toy_images: Path) -> Path:
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
    return path


def test_a_study_of_an_earlier_version_goes_on(left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["query", "studies", "--db", str(left), "--json"], prog_name="nuwa") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["study"], row["state"], row["budget_ms"]) == ("S", "interrupted", 1.2)

    line = ["--study", "S", "--resume", "--db", str(left), "--cache-dir", str(tmp_path / "cache"), "--json", "-q"]
    assert run(command, [*line, "--no-finetune", "-o", str(tmp_path / "other")], prog_name="nuwa-search") == 2
    assert "was started without --no-finetune" in capsys.readouterr().err
    take_for_present_emulator(left)
    assert run(command, [*line, "--trials", "7", "--budget-ms", "1.2"], prog_name="nuwa-search") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["study"], answer["feasible"]) == ("S", True)
    assert answer["artifacts"]["dir"] == str(tmp_path / "bundle")
    with sqlite3.connect(left) as connection:
        kept = connection.execute("select number from trials order by number limit 4").fetchall()
        (state,) = connection.execute("select state from nuwa_searches").fetchone()
        tasks = connection.execute("select task_id, pipeline from nuwa_tasks").fetchall()
        (num_scored,) = connection.execute("select count(*) from trial_values").fetchone()
    connection.close()
    assert tasks == [("f48b80f558e7fcde", 1)]  # images are made as they were for what was scored already
    assert (kept, state, num_scored) == ([(0,), (1,), (2,), (3,)], "done", 7)
