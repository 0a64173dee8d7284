"""Several searches on one database file at once, and one killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nuwa_search.store.lists import query_studies
from nuwa_search.store.store import open_store

START = "import sys; from nuwa_search.service.cli.main import main_search; main_search(sys.argv[1:])"
BUDGET = "1.5"


def start(db: Path, base: Path, images: Path, *more: str, trials: int = 5) -> "subprocess.Popen[str]":
    folder = db.parent
    args = [
        *("--budget-ms", BUDGET, "--base", str(base), "--data", str(images), "--db", str(db)),
        *("--cache-dir", str(folder / "cache"), "--trials", str(trials), "--finetune-steps", "2", "--json"),
    ]
    return subprocess.Popen(
        [sys.executable, "-c", START, *args, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_two_searches_on_one_file_both_finish(toy_db: Path, toy_base: Path, toy_images: Path) -> None:
    both = [start(toy_db, toy_base, toy_images, "--study", name) for name in ("one", "two")]
    for process in both:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert json.loads(out)["feasible"]
    with open_store(str(toy_db)) as store:
        assert {row["study"]: row["state"] for row in query_studies(store)} == {"one": "done", "two": "done"}


@pytest.mark.slow
def test_a_killed_search_goes_on_and_a_live_one_is_not_taken_over(
    toy_db: Path, toy_base: Path, toy_images: Path
) -> None:
    first = start(toy_db, toy_base, toy_images, "--study", "mine", trials=400)
    deadline = time.monotonic() + 120
    while _scored(toy_db) < 3:
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline, "no trial within two minutes"
        time.sleep(0.3)
    second = start(toy_db, toy_base, toy_images, "--study", "mine", "--resume")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 2
    assert "running already" in err
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = _scored(toy_db)
    third = start(toy_db, toy_base, toy_images, "--study", "mine", "--resume", trials=before + 2)
    out, err = third.communicate(timeout=240)
    assert third.returncode == 0, err
    assert json.loads(out)["trials"]["scored"] == before + 2


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
