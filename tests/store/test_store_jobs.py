"""The queue: each job is done by one worker, given back when it dies, and over once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.jobs import _LOOK_AHEAD, MAX_DEATHS
from nuwa_search.store.owners import LEASE_S
from nuwa_search.store.records import CertificateRecord, EngineRecord, ExportRecord, FinetuneRecord, SearchTerms
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import CertificateRow, EngineRow, FinetuningRow, JobRow, WorkerRow
from tests.support.store_values import NANO, record_basics, subnet


def pretend(store: Store, **values: object) -> None:
    """Change what the database says about the owner of all jobs."""
    with store.write() as connection:
        connection.execute(update(JobRow).values(**values))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child.pid


def states(store: Store, study: str) -> list[str]:
    return [event.payload["state"] for event in store.events(study) if event.kind == "state"]


def test_job_goes_from_queue_to_answer(store: Store) -> None:
    job = store.add_job("search", {"budget_ms": 5.0}, study="mine")
    assert (job.state, job.is_active, job.started_at, job.attempts) == ("queued", True, None, 0)
    claim = store.claim_job()
    assert claim is not None
    assert (claim.job.job_id, claim.job.state, claim.job.attempts) == (job.job_id, "running", 1)
    assert store.claim_job() is None
    store.finish_job(claim, "done", result={"schema": "nuwa.search/1"})
    done = store.job(job.job_id)
    assert done is not None
    assert (done.state, done.result, done.is_active) == ("done", {"schema": "nuwa.search/1"}, False)
    assert done.finished_at is not None
    assert states(store, "mine") == ["queued", "done"]
    assert store.count_jobs() == {("search", "done"): 1}
    with pytest.raises(NuwaError, match="taken over"):
        store.finish_job(claim, "failed")


def test_jobs_are_taken_in_order_and_each_by_one(store: Store, store_url: str) -> None:
    wanted = [store.add_job("profile", {"device": "jetson-nano", "n": n}).job_id for n in range(6)]
    with open_store(store_url) as other, ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda n: (store if n % 2 else other).claim_job(), range(12)))
    taken = [claim.job.job_id for claim in claims if claim is not None]
    left = [claim for claim in iter(store.claim_job, None) if claim is not None]
    taken += [claim.job.job_id for claim in left]
    assert sorted(taken) == sorted(wanted)
    assert [job.job_id for job in store.jobs(kind="profile", limit=2, offset=1)] == wanted[::-1][1:3]


def test_study_has_one_active_job(store: Store) -> None:
    store.add_job("search", {}, study="mine")
    store.add_job("search", {}, study="other")
    with pytest.raises(NuwaError, match="queued or running already"):
        store.add_job("search", {}, study="mine")
    claim = store.claim_job()
    assert claim is not None
    store.finish_job(claim, "interrupted")
    store.add_job("search", {}, study="mine")
    assert [job.state for job in store.jobs(study="mine")] == ["queued", "interrupted"]


def test_job_of_a_dead_worker_is_taken_over_once(store: Store) -> None:
    store.add_job("search", {}, study="mine")
    first = store.claim_job()
    assert first is not None
    pretend(store, owner_pid=dead_pid())
    second = store.claim_job()
    assert second is not None
    assert second.job.attempts == 2
    assert store.claim_job() is None
    for use in (store.beat_job, lambda claim: store.finish_job(claim, "done")):
        with pytest.raises(NuwaError, match="taken over"):
            use(first)
    store.beat_job(second)
    assert states(store, "mine") == ["queued", "running"]


def test_job_on_another_host_ends_with_its_lease(store: Store) -> None:
    store.add_job("profile", {})
    assert store.claim_job() is not None
    pretend(store, owner_host="elsewhere", heartbeat_at=utc_now() - timedelta(seconds=LEASE_S / 2))
    assert store.claim_job() is None
    pretend(store, heartbeat_at=utc_now() - timedelta(seconds=LEASE_S + 1))
    assert store.claim_job() is not None


@pytest.mark.parametrize("progress", [False, True])
def test_job_that_kills_its_workers_is_given_up_unless_it_moves(store: Store, progress: bool) -> None:
    job = store.add_job("profile", {})
    assert store.claim_job() is not None
    pid = dead_pid()
    for _ in range(MAX_DEATHS):
        if progress:
            store.add_job_event(job.job_id, "count", {"label": "rows", "done": 1, "total": 2})
        pretend(store, owner_pid=pid)
        store.claim_job()
    found = store.job(job.job_id)
    assert found is not None
    assert found.state == ("running" if progress else "failed")
    if not progress:
        assert found.problem is not None
        assert "workers died" in found.problem["message"]


def test_released_job_waits_and_goes_to_another(store: Store) -> None:
    job = store.add_job("search", {}, study="mine")
    claim = store.claim_job()
    assert claim is not None
    store.release_job(claim, reason="its worker was stopped", wait_s=60)
    assert store.claim_job() is None
    pretend(store, not_before=None)
    again = store.claim_job()
    assert again is not None
    assert (again.job.job_id, again.job.attempts) == (job.job_id, 2)


def test_cancelling(store: Store) -> None:
    queued = store.add_job("search", {}, study="queued")
    assert store.cancel_job(queued.job_id).state == "interrupted"
    assert states(store, "queued") == ["queued", "interrupted"]
    running = store.add_job("search", {}, study="running")
    claim = store.claim_job()
    assert claim is not None
    assert not store.is_cancel_wanted(claim)
    assert store.cancel_job(running.job_id).state == "running"
    assert store.is_cancel_wanted(claim)
    pretend(store, owner_pid=dead_pid())
    assert store.claim_job() is None  # nobody goes on with what is not wanted
    found = store.job(running.job_id)
    assert found is not None
    assert found.state == "interrupted"
    assert store.cancel_job(running.job_id).state == "interrupted"
    dead = store.add_job("search", {}, study="dead")
    assert store.claim_job() is not None
    pretend(store, owner_pid=dead_pid())
    assert store.cancel_job(dead.job_id).state == "interrupted"  # there is no worker to be told
    with pytest.raises(NuwaError, match="no job 'nothing'"):
        store.cancel_job("nothing")


def test_events_of_a_job_and_of_its_search_are_one_story(store: Store) -> None:
    record_basics(store)
    job = store.add_job("search", {}, study="mine")
    store.start_search("mine", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    store.add_event("mine", "step", {"text": "one"})
    store.add_job_event(job.job_id, "step", {"text": "two"})
    assert [event.kind for event in store.events("mine")] == ["state", "step", "step"]
    assert [event.kind for event in store.job_events(job.job_id)] == ["state", "step"]
    assert store.latest_events("mine")["step"].payload == {"text": "two"}
    with pytest.raises(NuwaError, match="no job"):
        store.add_job_event("nothing", "step")


def test_workers_are_counted_while_they_live(store: Store) -> None:
    store.beat_worker("one", host="here", pid=1)
    store.beat_worker("one", host="here", pid=1)
    store.beat_worker("two", host="here", pid=2)
    assert store.count_workers() == 2
    with store.write() as connection:
        old = utc_now() - timedelta(seconds=LEASE_S + 1)
        connection.execute(update(WorkerRow).where(WorkerRow.worker_id == "two").values(heartbeat_at=old))
    assert store.count_workers() == 1
    store.forget_worker("one")
    assert store.count_workers() == 0


def test_what_a_resumed_search_ships_again_is_not_stored_twice(store: Store) -> None:
    record_basics(store)
    store.record_subnets([subnet(0)])
    for verdict in ("missed", "met"):
        store.record_finetune(FinetuneRecord("subnet-0", {"steps": 4}, {"top1_search": 0.5}, "hash", 1.0))
        store.record_export(ExportRecord("subnet-0", "onnx", "/b/model.onnx", 13, {}))
        store.record_engine(EngineRecord("onnx", NANO.device_id, "trtexec"))
        store.record_certificate(
            CertificateRecord("subnet-0", NANO.device_id, 5.0, verdict, {}, path="/b/certificate.json")
        )
    store.record_certificate(CertificateRecord("subnet-0", NANO.device_id, 5.0, "met", {}, path="/c/certificate.json"))
    with store.read() as connection:
        assert len(connection.execute(FinetuningRow.__table__.select()).all()) == 1
        assert len(connection.execute(EngineRow.__table__.select()).all()) == 1
        verdicts = [row.verdict for row in connection.execute(CertificateRow.__table__.select())]
    assert verdicts == ["met", "met"]


def test_trials_are_read_from_the_events(store: Store) -> None:
    record_basics(store)
    assert store.trials("mine") == []
    for study in ("mine", "other"):
        store.start_search(study, SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    for number in (1, 0):  # the second was caught up with later
        kl = 0.5 - 0.1 * number
        told = {"number": number, "arch_id": f"arch-{number}", "state": "scored", "kl": kl, "scored": 1, "wanted": 9}
        store.add_event("mine", "trial", told)
    store.add_event("mine", "trial", {"number": 2})  # a note that does not say what became of it
    store.add_event("mine", "step", {"text": "one"})
    assert store.trials("mine") == [
        {"number": 0, "arch_id": "arch-0", "state": "scored", "kl": 0.5},
        {"number": 1, "arch_id": "arch-1", "state": "scored", "kl": 0.4},
    ]
    assert store.trials("other") == []


def test_queue_longer_than_is_read_at_once_is_done_to_its_end(store: Store) -> None:
    queued = [store.add_job("profile", {"device": str(k)}).job_id for k in range(_LOOK_AHEAD + 3)]
    claims = [store.claim_job() for _ in queued]
    assert [claim.job.job_id for claim in claims if claim is not None] == queued
    assert store.claim_job() is None
    with store.write() as connection:  # the newest one's worker is gone, and so many still work before it
        newest = JobRow.job_id == queued[-1]
        connection.execute(update(JobRow).where(newest).values(heartbeat_at=utc_now() - timedelta(seconds=LEASE_S + 1)))
    again = store.claim_job()
    assert again is not None
    assert again.job.job_id == queued[-1]


def test_jobs_that_others_take_meanwhile_hide_none_behind_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = [store.add_job("profile", {"device": str(k)}).job_id for k in range(_LOOK_AHEAD + 1)]
    take, tried = store._try_claim, []

    def beaten(pk: int, *, state: str, token: str | None) -> object:
        tried.append(pk)
        claim = take(pk, state=state, token=token)
        return None if len(tried) <= _LOOK_AHEAD else claim  # another worker has it

    monkeypatch.setattr(store, "_try_claim", beaten)
    claim = store.claim_job()
    assert claim is not None
    assert claim.job.job_id == queued[-1]
