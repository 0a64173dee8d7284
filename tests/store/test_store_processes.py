"""Several processes on one database: nothing is lost, and one study has one owner."""

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from sqlalchemy import func, select

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.database import Database
from nuwa_search.store.records import LutEntry, SearchTerms
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import LutEntryRow, ScoreRow
from tests.support.store_values import NANO, PROTOCOL, prediction, record_basics, subnet, top1

SPAWN = multiprocessing.get_context("spawn")  # a forked child would share our connections
NUM_BATCHES = 15


def count(store: Database, table: type) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def write_batches(url: str, first: int, go: Event) -> None:
    with open_store(url) as store:
        go.wait(30)
        for n in range(first, first + NUM_BATCHES):
            store.record_subnets([subnet(n), subnet(0)])
            store.record_predicted_latencies([prediction(n, 1.0 + n), prediction(0, 1.0)])
            store.record_scores([top1(n, 0.5), top1(0, 0.5, seed=n)])
            store.save_lut_rows(
                NANO, PROTOCOL, [LutEntry({"n": n}, 1.0, "emulated"), LutEntry({"n": 0}, 1.0, "emulated")]
            )


def start_study(url: str, go: Event, answers: "multiprocessing.Queue[str]", all_asked: Event) -> None:
    with open_store(url) as store:
        go.wait(30)
        try:
            store.start_search("study", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
        except NuwaError as error:
            answers.put(f"refused {error.exit_code}")
        else:
            answers.put("started")
            all_asked.wait(60)  # a dead owner's study would be anybody's


def write_for_ever(url: str, ready: Event) -> None:
    with open_store(url) as store:
        for n in range(10**6):
            store.save_lut_rows(NANO, PROTOCOL, [LutEntry({"n": n, "i": i}, 1.0, "emulated") for i in range(20)])
            if n == 5:
                ready.set()


def test_two_writers_lose_nothing(store: Store, store_url: str) -> None:
    record_basics(store)
    store.record_subnets([subnet(0)])
    go = SPAWN.Event()
    writers = [SPAWN.Process(target=write_batches, args=(store_url, 1 + i * NUM_BATCHES, go)) for i in range(2)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert count(store, ScoreRow) == 4 * NUM_BATCHES
    assert count(store, LutEntryRow) == 2 * NUM_BATCHES + 1


def test_one_of_three_processes_gets_the_study(store: Store, store_url: str) -> None:
    record_basics(store)
    go, all_asked, answers = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    workers = [SPAWN.Process(target=start_study, args=(store_url, go, answers, all_asked)) for _ in range(3)]
    for worker in workers:
        worker.start()
    go.set()
    assert sorted(answers.get(timeout=60) for _ in workers) == ["refused 2", "refused 2", "started"]
    all_asked.set()
    for worker in workers:
        worker.join(60)


def test_killed_writer_leaves_whole_batches(store: Store, store_url: str) -> None:
    record_basics(store)
    ready = SPAWN.Event()
    writer = SPAWN.Process(target=write_for_ever, args=(store_url, ready))
    writer.start()
    assert ready.wait(60)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(60)
    with open_store(store_url) as after:
        entries = after.load_lut_rows(NANO.device_id, PROTOCOL.protocol_id)
        per_batch = {n: sum(entry.key["n"] == n for entry in entries) for n in {entry.key["n"] for entry in entries}}
        assert set(per_batch.values()) == {20}
        assert set(per_batch) >= set(range(6))
        after.save_lut_rows(NANO, PROTOCOL, [LutEntry({"n": -1}, 1.0, "emulated")])


def open_new(path: str, go: Event) -> None:
    go.wait(30)
    with open_store(path) as store:
        record_basics(store)


def test_empty_file_opened_by_three_at_once_is_made_once(tmp_path: Path) -> None:
    path = str(tmp_path / "new.sqlite")
    go = SPAWN.Event()
    openers = [SPAWN.Process(target=open_new, args=(path, go)) for _ in range(3)]
    for opener in openers:
        opener.start()
    go.set()
    for opener in openers:
        opener.join(60)
        assert opener.exitcode == 0
    with open_store(path) as store:
        assert len(store.devices()) == 2


@pytest.mark.parametrize("rows", [4000])
def test_scores_are_stored_in_batches_at_two_thousand_rows_a_second(store: Store, rows: int) -> None:
    record_basics(store)
    store.record_subnets(subnet(n) for n in range(100))
    store.record_predicted_latencies(prediction(n, 1.0) for n in range(100))
    started = time.process_time()
    store.record_scores(top1(n % 100, 0.5, seed=n) for n in range(rows))
    assert rows / (time.process_time() - started) >= 2000
    assert count(store, ScoreRow) == rows
