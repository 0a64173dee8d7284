"""Workers: they do what is queued, stop when told, and go on where another one died."""

import json
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.deploy.bundle import is_bundle
from nuwa_search.service.cli.commands.worker import _stop_on_sigterm
from nuwa_search.store.records import JobRecord, SearchTerms
from nuwa_search.store.store import Store, open_store
from tests.support.toy_jobs import (
    assert_done_once,
    paid_proposals,
    queue_search,
    start_worker,
    toy_request,
    wait_for,
    work_off,
)


@pytest.fixture
def store(tmp_path: Path, profiled_db: Path) -> Iterator[Store]:
    shutil.copy(profiled_db, tmp_path / "nuwa.sqlite")
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        yield opened


@pytest.fixture
def request_of(tmp_path: Path, toy_base: Path, toy_images: Path) -> Any:
    asked = toy_request(toy_base, toy_images, tmp_path / "bundle")
    return lambda **more: asked | more


def work(store: Store, tmp_path: Path) -> int:
    """Do what is queued in this process, until nothing is left."""
    return work_off(store, tmp_path / "cache")


def job_of(store: Store, job: JobRecord) -> JobRecord:
    found = store.job(job.job_id)
    assert found is not None
    return found


def has_trials(store: Store, study: str, *, least: int) -> bool:
    return num_trials(store, study) >= least


def num_trials(store: Store, study: str) -> int:
    return sum(event.kind == "trial" for event in store.events(study))


def test_queued_search_is_done_and_told(store: Store, tmp_path: Path, request_of: Any) -> None:
    job = queue_search(store, "mine", request_of())
    assert work(store, tmp_path) == 1
    assert_done_once(store, "mine", trials=6)
    events = store.events("mine")
    assert [e.payload["state"] for e in events if e.kind == "state"] == ["queued", "running", "done"]
    assert {"state", "count", "step", "trial", "finetune", "winner-measured"} <= {e.kind for e in events}
    trials = [e.payload for e in events if e.kind == "trial"]
    assert [t["number"] for t in trials] == [t["number"] for t in store.trials("mine")]
    assert (trials[-1]["scored"], trials[-1]["wanted"]) == (6, 6)
    assert is_bundle(tmp_path / "bundle")
    assert job_of(store, job).attempts == 1
    assert store.count_workers() == 0  # it said goodbye


def test_what_cannot_be_done_says_why(store: Store, tmp_path: Path, request_of: Any) -> None:
    missing = queue_search(store, "missing", request_of(base=str(tmp_path / "nothing")))
    assert work(store, tmp_path) == 1
    failed = job_of(store, missing)
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "no base at" in failed.problem["message"]
    assert failed.problem["exit_code"] == 2


def test_cancelled_search_stops_within_seconds_and_goes_on_when_resumed(
    store: Store, tmp_path: Path, request_of: Any
) -> None:
    request = request_of(trials=400)
    job = queue_search(store, "mine", request)
    asked: list[float] = []

    def cancel_after_three() -> None:
        wait_for(lambda: num_trials(store, "mine") >= 3, seconds=60, what="three trials")
        store.cancel_job(job.job_id)
        asked.append(time.monotonic())

    helper = threading.Thread(target=cancel_after_three)
    helper.start()
    work(store, tmp_path)
    stopped_s = time.monotonic() - asked[0]
    helper.join()
    assert stopped_s < 30  # of a busy machine; the 400 trials would take minutes
    assert job_of(store, job).state == "interrupted"
    record = store.search("mine")
    assert record is not None
    assert record.state == "interrupted"
    before = paid_proposals(store, "mine")
    queue_search(store, "mine", request | {"trials": len(before) + 2}, resume=True)
    assert work(store, tmp_path) == 1
    after = paid_proposals(store, "mine")
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == len(before) + 2


def test_end_that_could_not_be_told_is_not_searched_again(store: Store, tmp_path: Path, request_of: Any) -> None:
    queue_search(store, "mine", request_of())
    (device,) = {record.spec.device_id for record in store.devices()}
    claim = store.start_search("mine", SearchTerms(device_id=device, budget_ms=1.5, seed=0, settings={}))
    store.finish_search(claim, "done", result={"schema": "nuwa.search/1"})  # and then its worker died
    assert work(store, tmp_path) == 1
    (job,) = store.jobs(study="mine")
    assert (job.state, job.result) == ("done", {"schema": "nuwa.search/1"})
    assert store.trials("mine") == []


def test_worker_started_in_the_background_heeds_a_cancel(tmp_path: Path) -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells without job control do
    try:
        with open_store(str(tmp_path / "nuwa.sqlite")) as empty:
            assert work(empty, tmp_path) == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, old)


def test_profile_is_a_job_too(store: Store) -> None:
    (done,) = store.jobs(kind="profile")
    assert done.state == "done", done.problem
    assert done.result is not None
    assert done.result["schema"] == "nuwa.profile/1"
    assert done.result["report"]["mape"] < 0.05
    kinds = [event.kind for event in store.job_events(done.job_id)]
    assert kinds[:3] == ["state", "state", "count"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_stops_although_python_swallows_the_interrupt() -> None:
    class Thing:
        pass

    before, stop, thing = signal.getsignal(signal.SIGTERM), threading.Event(), Thing()
    try:
        _stop_on_sigterm(stop)
        _reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
        del thing  # the interrupt is raised in the callback, where Python only prints it
        assert stop.wait(10)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_terminated_worker_gives_its_job_back_and_a_killed_one_loses_it(
    store: Store, tmp_path: Path, request_of: Any
) -> None:
    queue_search(store, "mine", request_of(trials=12))
    database, cache = tmp_path / "nuwa.sqlite", tmp_path / "cache"
    for sign in (signal.SIGTERM, signal.SIGKILL):
        least = num_trials(store, "mine") + 2  # more than there are: this worker has taken the job up
        worker = start_worker(database, cache)
        wait_for(partial(has_trials, store, "mine", least=least), seconds=90, what="trials")
        worker.send_signal(sign)
        _, err = worker.communicate(timeout=30)
        (job,) = store.jobs(study="mine")
        if sign == signal.SIGTERM:
            assert worker.returncode == 0, err
            assert job.state == "queued"
            assert all(json.loads(line)["level"] for line in err.splitlines() if line.startswith("{"))
        else:
            assert job.state == "running"
    work(store, tmp_path)
    assert_done_once(store, "mine", trials=12)
    assert len(store.certificates.find()) == 1
    assert store.jobs(study="mine")[0].attempts == 3
