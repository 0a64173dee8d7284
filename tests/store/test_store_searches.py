"""Exactly one process runs a study; what it did is told in order."""

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.events import insert_event
from nuwa_search.store.heartbeat import Heartbeat
from nuwa_search.store.owners import LEASE_S
from nuwa_search.store.records import Claim, SearchTerms
from nuwa_search.store.store import Store
from nuwa_search.store.tables import SearchRow
from tests.support.store_values import BASE, NANO, TASK, record_basics


def start(store: Store, study: str = "study", *, resume: bool = True, seed: int = 0) -> Claim:
    return store.start_search(
        study,
        SearchTerms(
            device_id=NANO.device_id,
            budget_ms=5.0,
            seed=seed,
            settings={"trials": 10},
            base_id=BASE.base_id,
            task_id=TASK.task_id,
            predictor_id="predictor-0",
        ),
        resume=resume,
    )


def pretend(store: Store, **values: object) -> None:
    """Change what the database says about the owner of the study."""
    with store.write() as connection:
        connection.execute(update(SearchRow).values(**values))


@pytest.fixture(autouse=True)
def _basics(store: Store) -> None:
    record_basics(store)


def test_search_lives_from_start_to_answer(store: Store) -> None:
    claim = start(store)
    assert claim.previous is None
    running = store.search("study")
    assert running is not None
    assert (running.state, running.result, running.finished_at) == ("running", None, None)
    assert (running.base_id, running.task_id, running.predictor_id) == (BASE.base_id, TASK.task_id, "predictor-0")
    store.finish_search(claim, "done", result={"schema": "nuwa.search/1", "feasible": True})
    (done,) = store.searches()
    assert (done.state, done.result) == ("done", {"schema": "nuwa.search/1", "feasible": True})
    assert done.finished_at is not None
    (row,) = store.studies.find(device="jetson-nano")
    assert (row["study"], row["state"], row["classes"]) == ("study", "done", list(TASK.classes))


def test_same_study_twice_at_once_is_refused(store: Store) -> None:
    start(store)
    with pytest.raises(NuwaError, match="is running already") as error:
        start(store)
    assert "--study" in error.value.hint


def test_two_studies_at_once_are_fine(store: Store) -> None:
    first, second = start(store, "one"), start(store, "two")
    store.finish_search(first, "done")
    store.finish_search(second, "infeasible")
    assert {search.study: search.state for search in store.searches()} == {"one": "done", "two": "infeasible"}


def test_finished_study_is_continued_only_when_asked(store: Store) -> None:
    store.finish_search(start(store), "interrupted")
    with pytest.raises(NuwaError, match="exists already and is interrupted"):
        start(store, resume=False)
    claim = start(store, seed=7)
    assert claim.previous is not None
    assert (claim.previous.state, claim.previous.seed) == ("interrupted", 0)


def test_claim_of_a_dead_process_is_taken_over(store: Store) -> None:
    old = start(store)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    pretend(store, owner_pid=child.pid)
    claim = start(store)
    assert claim.previous is not None
    with pytest.raises(NuwaError, match="taken over"):
        store.heartbeat(old)
    with pytest.raises(NuwaError, match="taken over"):
        store.finish_search(old, "done")
    store.heartbeat(claim)


def test_claim_on_another_host_ends_with_its_lease(store: Store) -> None:
    start(store)
    pretend(store, owner_host="elsewhere", owner_pid=2**22 + 1, heartbeat_at=utc_now() - timedelta(seconds=LEASE_S / 2))
    with pytest.raises(NuwaError, match="on elsewhere"):
        start(store)
    pretend(store, heartbeat_at=utc_now() - timedelta(seconds=LEASE_S + 1))
    start(store)
    search = store.search("study")
    assert search is not None
    assert (search.owner_host, search.owner_pid) == (socket.gethostname(), os.getpid())


def test_heart_beats_in_the_background_and_notices_a_takeover(store: Store) -> None:
    claim = start(store)
    pretend(store, heartbeat_at=utc_now() - timedelta(seconds=LEASE_S / 2))
    with Heartbeat(store, claim, interval_s=0.02) as heart:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            search = store.search("study")
            assert search is not None
            assert search.heartbeat_at is not None
            if utc_now() - search.heartbeat_at < timedelta(seconds=LEASE_S / 4):
                break
        assert not heart.is_lost
        pretend(store, owner_token="somebody else")
        while time.monotonic() < deadline and not heart.is_lost:
            time.sleep(0.01)
        assert heart.is_lost


def test_search_on_unknown_things_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(NuwaError, match="no base 'nothing'"):
        store.start_search(
            "study", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}, base_id="nothing")
        )
    assert store.searches() == ()


def test_predictor_can_be_named_later(store: Store) -> None:
    claim = store.start_search("study", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    store.set_search_predictor(claim, "predictor-0")
    search = store.search("study")
    assert search is not None
    assert search.predictor_id == "predictor-0"


def test_an_event_is_never_seen_before_one_of_a_smaller_number(store: Store) -> None:
    """A reader that saw the greater number would never come back for the smaller one."""
    start(store, "one")
    with store.write() as connection:
        pk = connection.execute(select(SearchRow.pk)).scalar_one()
        first = insert_event(connection, {"search_pk": pk, "kind": "trial", "payload": {}})
        other = threading.Thread(target=store.add_event, args=("one", "step"))
        other.start()
        other.join(0.3)
        assert store.events("one") == ()
    other.join()
    found = store.events("one")
    assert [event.kind for event in found] == ["trial", "step"]
    assert found[0].number == first


def test_events_are_told_in_order_from_where_a_reader_was(store: Store) -> None:
    start(store, "one")
    start(store, "two")
    numbers = [store.add_event("one", "trial", {"number": n}) for n in range(3)]
    store.add_event("two", "trial")
    assert [event.payload["number"] for event in store.events("one")] == [0, 1, 2]
    assert [event.number for event in store.events("one", after=numbers[0])] == numbers[1:]
    assert len(store.events("one", limit=2)) == 2
    assert store.events("nothing") == ()
    with pytest.raises(NuwaError, match="no study 'nothing'"):
        store.add_event("nothing", "trial")
