"""What one thread gets out of the database where 100 boards and up to 1000 searches are in it: what breaks first."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.scale.farm import postgresql_in
from benchmarks.scale.figure import Figure
from nuwa_search.store.store import Store, open_store

NUM_BOARDS = 100
WAITING = (50, 1000)


def rate(work: Callable[[], object], *, seconds: float) -> float:
    """Do something over and over for so long; return how often a second, after one time that does not count."""
    work()
    begun, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        work()
        count += 1
    return count / passed


def figures_of(url: str, *, seconds: float) -> Iterator[Figure]:
    """Lend all boards of one pool, let more and more searches wait, and count; then queue as many jobs."""
    note = "one thread, nothing else running on this database"
    with open_store(url) as store:
        store.save_pool("lab", [f"board-{k:03}" for k in range(NUM_BOARDS)])
        free = rate(lambda: _lend_and_return(store), seconds=seconds)
        yield Figure("boards lent and returned, a second", free, None, note)
        leases = [store.lease_board("lab", party="holder") for _ in range(NUM_BOARDS)]
        assert all(leases)
        for count in WAITING:
            for number in range(count):
                store.lease_board("lab", party=f"party-{number}")
            asked = rate(lambda: store.lease_board("lab", party="party-0"), seconds=seconds)
            said = f"{note}; each of them asks twice a second"
            yield Figure(f"questions for a board while {count} searches wait, a second", asked, None, said)
        beats = rate(lambda: store.beat_boards("holder"), seconds=seconds)
        yield Figure(f"beats of {NUM_BOARDS} boards, a second", beats, None, note)
        for number in range(WAITING[-1]):
            store.add_job("search", {"budget_ms": 1.0}, study=f"study-{number}")
        claims = rate(store.claim_job, seconds=seconds)
        yield Figure(f"jobs claimed of {WAITING[-1]}, a second", claims, None, note)


def _lend_and_return(store: Store) -> None:
    lease = store.lease_board("lab", party="me")
    if lease is not None:
        store.release_board(lease)


def on_postgresql(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Ask PostgreSQL."""
    with postgresql_in(folder) as url:
        return list(figures_of(url, seconds=0.2 if is_small else 3.0))


def on_sqlite(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Ask SQLite."""
    return list(figures_of(str(folder / "asking.sqlite"), seconds=0.2 if is_small else 3.0))


CASES = {"asking_postgresql": on_postgresql, "asking_sqlite": on_sqlite}
