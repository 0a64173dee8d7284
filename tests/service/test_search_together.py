"""Several searches on one database file at once, and one killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import run
from nuwa_search.store.store import open_store

START = "import sys; from nuwa_search.service.cli.main import main_search; main_search(sys.argv[1:])"
BUDGET = "1.5"


def arguments(db: Path, base: Path, images: Path, *more: str, trials: int = 5) -> list[str]:
    return [
        *("--budget-ms", BUDGET, "--base", str(base), "--data", str(images), "--db", str(db)),
        *("--cache-dir", str(db.parent / "cache"), "--trials", str(trials), "--finetune-steps", "2", "--json"),
        *more,
    ]


def start(db: Path, args: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", START, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=db.parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def search_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], tuple[int, str, str]]:
    """The second process of a test is the test's own: what it would import again is there."""
    monkeypatch.chdir(tmp_path)

    def call(args: list[str]) -> tuple[int, str, str]:
        code = run(command, args, prog_name="nuwa-search")
        return code, *capsys.readouterr()

    return call


@pytest.mark.slow
def test_two_searches_on_one_file_both_finish(toy_db: Path, toy_base: Path, toy_images: Path, search_here: Any) -> None:
    one, two = (arguments(toy_db, toy_base, toy_images, "--study", name) for name in ("one", "two"))
    other = start(toy_db, one)
    _wait_for_study(toy_db, other)  # it has begun, so that both are at it
    code, out, err = search_here(two)
    other_out, other_err = other.communicate(timeout=240)
    assert (code, other.returncode) == (0, 0), err + other_err
    assert json.loads(out)["feasible"]
    assert json.loads(other_out)["feasible"]
    with open_store(str(toy_db)) as store:
        assert {row["study"]: row["state"] for row in store.studies.find()} == {"one": "done", "two": "done"}


@pytest.mark.slow
def test_a_killed_search_goes_on_and_a_live_one_is_not_taken_over(
    toy_db: Path, toy_base: Path, toy_images: Path, search_here: Any
) -> None:
    def asked(*more: str, trials: int) -> list[str]:
        return arguments(toy_db, toy_base, toy_images, "--study", "mine", *more, trials=trials)

    first = start(toy_db, asked(trials=400))
    deadline = time.monotonic() + 120
    while _scored(toy_db) < 3:
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline, "no trial within two minutes"
        time.sleep(0.1)
    code, _, err = search_here(asked("--resume", trials=400))
    assert code == 2
    assert "running already" in err
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = _scored(toy_db)
    code, out, err = search_here(asked("--resume", trials=before + 2))
    assert code == 0, err
    assert json.loads(out)["trials"]["scored"] == before + 2


def _wait_for_study(database: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    with open_store(str(database)) as store:
        while not store.studies.find():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no study within two minutes"
            time.sleep(0.1)


def _scored(database: Path) -> int:
    import sqlite3

    if not database.exists():
        return 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(
            connection.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0]
        )
    except sqlite3.OperationalError:  # Optuna has not made its tables yet
        return 0
    finally:
        connection.close()
