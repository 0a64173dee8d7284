"""Kill a worker with -9 at random moments of a search, again and again, and look at what comes out.

    python -m benchmarks.kill_worker --kills 20

A toy search is queued; worker after worker is started and killed after a random time, the last one is let finish.
Workers are forked from a process that has loaded the libraries, so that most kills hit the work, not the loading.
The same search is then run without a kill: the winner must be the same, no subnet may have been paid for twice, and
there must be one final result.
"""

import argparse
import csv
import multiprocessing
import random
import signal
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nuwa_search.service.worker.worker import Worker
from nuwa_search.store.store import Store, open_store
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours
from tests.support.toy_jobs import assert_done_once, paid_proposals, queue_search, toy_request

# A server that has the libraries and no database open: SQLite's locks do not survive a fork.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["nuwa_search.search.job.search", "nuwa_search.service.worker.worker"])
TRIALS = 60
LONGEST_S = 600.0
MEAN_WAIT_S = 0.3
"""Until the kill; a trial of the toy takes a tenth of this."""
MOMENTS = (("start", 0.15), ("count", 0.2), ("trial", 0.4), ("finetune", 0.25))
"""What a worker is at when it is killed, and the share of the kills: a search passes through these in this order."""


def main() -> None:
    """Run, print, and write one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/kill_worker.csv"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = run(Path(folder), kills=args.kills, chance=random.Random(args.seed))
    print(row)
    with args.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)


def run(folder: Path, *, kills: int, chance: random.Random) -> dict[str, object]:
    """Kill, finish, compare.

    Raises:
        AssertionError: If anything was lost or done twice.
    """
    base, images = write_toy_base(folder / "base"), write_colours(folder / "images", CLASSES)
    database, cache = folder / "nuwa.sqlite", folder / "cache"
    moments = [name for name, share in MOMENTS for _ in range(round(share * kills))]
    phases: list[str] = []
    with open_store(str(database)) as store:
        queue_search(store, "killed", toy_request(base, images, folder / "killed", trials=TRIALS, finetune_steps=200))
        begun = time.monotonic()
        for moment in moments:
            worker = _start(database, cache)
            if moment != "start":
                _wait_for(store, "killed", moment, behind=len(store.events("killed")))
            time.sleep(chance.expovariate(1 / MEAN_WAIT_S))
            worker.kill()
            worker.join()
            if _is_over(store, "killed"):
                break
            phases.append(moment)
        _finish(store, database, cache, "killed")
        seconds = time.monotonic() - begun
        assert_done_once(store, "killed", trials=TRIALS)
        assert len(store.certificates.find()) == 1
        killed = _result(store, "killed")
        again = toy_request(base, images, folder / "whole", trials=TRIALS, finetune_steps=200)
        queue_search(store, "whole", again | {"predictor_id": killed["predictor_id"]})
        _finish(store, database, cache, "whole")
        whole = _result(store, "whole")
        assert killed["subnet"]["subnet_id"] == whole["subnet"]["subnet_id"]
        paid = paid_proposals(store, "killed")
        ends = sum(e.kind == "state" and e.payload["state"] == "done" for e in store.events("killed"))
        attempts = store.jobs(study="killed")[0].attempts
    return {
        "kills": len(phases),
        "attempts": attempts,
        "trials": TRIALS,
        "trials_paid_twice": len(paid) - len(set(paid)),
        "final_results": ends,
        "same_winner_as_unbroken": killed["subnet"]["subnet_id"] == whole["subnet"]["subnet_id"],
        "killed_during": " ".join(f"{name}:{phases.count(name)}" for name in sorted(set(phases))),
        "seconds": round(seconds, 1),
    }


def _start(database: Path, cache: Path) -> BaseProcess:
    """Start a process that does what `nuwa worker` does."""
    worker = _PROCESSES.Process(target=_work, args=(str(database), cache))
    worker.start()
    return worker


def _work(database: str, cache: Path) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), open_store(database) as own:
        Worker(own, cache_dir=cache, stop=threading.Event(), poll_s=0.1).run()


def _is_over(store: Store, study: str) -> bool:
    return not store.jobs(study=study)[0].is_active


def _wait_for(store: Store, study: str, moment: str, *, behind: int) -> None:
    """Wait until a new worker is at something: until it has told an event of that kind."""
    deadline = time.monotonic() + LONGEST_S
    while all(e.kind != moment for e in store.events(study)[behind:]) and not _is_over(store, study):
        if time.monotonic() > deadline:
            raise TimeoutError("no event")
        time.sleep(0.02)


def _finish(store: Store, database: Path, cache: Path, study: str) -> None:
    worker = _start(database, cache)
    deadline = time.monotonic() + LONGEST_S
    while not _is_over(store, study):
        assert time.monotonic() < deadline, f"{study} does not end"
        time.sleep(0.1)
    worker.terminate()
    worker.join()
    assert worker.exitcode == 0


def _result(store: Store, study: str) -> dict[str, Any]:
    record = store.search(study)
    assert record is not None
    assert record.result is not None
    return record.result


if __name__ == "__main__":
    main()
