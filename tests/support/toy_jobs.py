"""Queue searches of the toy base, and run workers as processes of their own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nuwa_search.service.worker.worker import Worker
from nuwa_search.store.records import JobRecord
from nuwa_search.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
TOY_BUDGET_MS = 1.5
_START = "import sys; from nuwa_search.service.cli.main import main; main(sys.argv[1:])"


def toy_request(base: Path, images: Path, bundle: Path, **more: Any) -> dict[str, Any]:
    """Ask for a search of the toy base that takes seconds."""
    asked = {"base": str(base), "data": str(images), "bundle_dir": str(bundle), "trials": 6, "finetune_steps": 4}
    return {"budget_ms": TOY_BUDGET_MS} | asked | more


def queue_search(store: Store, study: str, request: dict[str, Any], *, resume: bool = False) -> JobRecord:
    """Queue a search as the service does."""
    return store.add_job("search", {"request": request, "resume": resume}, study=study)


def work_off(store: Store, cache: Path) -> int:
    """Do what is queued in this process, until nothing is left; return how many jobs that were."""
    return Worker(store, cache_dir=cache, stop=threading.Event(), poll_s=0.1).run(is_once=True)


def start_nuwa(*args: str) -> "subprocess.Popen[str]":
    """Start ``nuwa`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _START, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def start_worker(db: Path, cache: Path, *more: str) -> "subprocess.Popen[str]":
    """Start ``nuwa worker`` on a database."""
    return start_nuwa("worker", "--db", str(db), "--cache-dir", str(cache), *more)


def wait_for(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: If it does not come to be.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def paid_proposals(store: Store, study: str) -> list[tuple[tuple[str, Any], ...]]:
    """List what a study scored, by the values of the search space: two cuts of one shape share their arch id."""
    import optuna

    storage = optuna.storages.RDBStorage(store.url.render_as_string(hide_password=False))
    try:
        trials = optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
    finally:
        storage.remove_session()
        storage.engine.dispose()
    reports = [(trial.user_attrs.get("nuwa.report", {}), trial.params) for trial in trials]
    return [tuple(sorted(params.items())) for report, params in reports if report.get("state") in ("scored", "pruned")]


def assert_done_once(store: Store, study: str, *, trials: int) -> None:
    """Hold a finished search against everything that must be so whatever happened to its workers."""
    (job,) = store.jobs(study=study)
    record = store.search(study)
    assert record is not None
    assert (job.state, record.state) == ("done", "done"), job.problem
    assert job.result == record.result
    assert record.result is not None
    assert record.result["feasible"]
    paid = paid_proposals(store, study)
    assert len(paid) == trials
    assert len(set(paid)) == trials
    told = [e.payload["number"] for e in store.events(study) if e.kind == "trial"]
    assert len(told) == len(set(told))
    ends = [e for e in store.events(study) if e.kind == "state" and e.payload["state"] == "done"]
    assert len(ends) == 1
