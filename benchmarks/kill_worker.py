"""Kill a worker with -9 at random moments of a search, again and again, and look at what comes out.

    python -m benchmarks.kill_worker --kills 20

A toy search is queued; worker after worker is started and killed after a random time, the last one is let finish.
Workers are forked from a process that has loaded the libraries, so that kills hit the work and not the loading.
The same search is then run without a kill: the winner must be the same, no subnet may have been paid for twice, and
there must be one final result.
"""

import argparse
import csv
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from nuwa.store.lists import query_certificates
from nuwa.store.store import Store, open_store
from service.worker.worker import Worker
from service.workflow import search as _loaded  # noqa: F401 - before the first fork
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours
from tests.support.toy_jobs import assert_done_once, queue_search, toy_request

TRIALS = 60
LONGEST_S = 600.0
EARLY_SHARE = 0.2
"""Of the kills that hit a worker while it still loads; the others hit it while it works."""


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
    phases: list[str] = []
    with open_store(str(database)) as store:
        queue_search(store, "killed", toy_request(base, images, folder / "killed", trials=TRIALS, finetune_steps=40))
        begun, done = time.monotonic(), 0
        while done < kills and not _is_over(store, "killed"):
            worker = _fork_worker(database, cache)
            if chance.random() >= EARLY_SHARE:
                _wait_for_progress(store, "killed", behind=len(store.events("killed")))
            time.sleep(chance.uniform(0.0, 2.0))
            phases.append(_phase(store, "killed"))
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            done += 1
        _finish(store, database, cache, "killed")
        seconds = time.monotonic() - begun
        assert_done_once(store, "killed", trials=TRIALS)
        assert len(query_certificates(store)) == 1
        killed = _result(store, "killed")
        again = toy_request(base, images, folder / "whole", trials=TRIALS, finetune_steps=40)
        queue_search(store, "whole", again | {"predictor_id": killed["predictor_id"]})
        _finish(store, database, cache, "whole")
        whole = _result(store, "whole")
        assert killed["subnet"]["subnet_id"] == whole["subnet"]["subnet_id"]
        paid = [t["arch_id"] for t in store.trials("killed") if t["state"] in ("scored", "pruned")]
        ends = sum(e.kind == "state" and e.payload["state"] == "done" for e in store.events("killed"))
        attempts = store.jobs(study="killed")[0].attempts
    return {
        "kills": done,
        "attempts": attempts,
        "trials": TRIALS,
        "trials_paid_twice": len(paid) - len(set(paid)),
        "final_results": ends,
        "same_winner_as_unbroken": killed["subnet"]["subnet_id"] == whole["subnet"]["subnet_id"],
        "killed_during": " ".join(f"{name}:{phases.count(name)}" for name in sorted(set(phases))),
        "seconds": round(seconds, 1),
    }


def _fork_worker(database: Path, cache: Path) -> int:
    """Fork a process that does what `nuwa worker` does, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with open_store(str(database)) as own:
            Worker(own, cache_dir=cache, stop=threading.Event(), poll_s=0.1).run()
    except KeyboardInterrupt:
        code = 0
    finally:
        os._exit(code)


def _is_over(store: Store, study: str) -> bool:
    return not store.jobs(study=study)[0].is_active


def _wait_for_progress(store: Store, study: str, *, behind: int) -> None:
    """Wait until a new worker has got something done: loading libraries takes most of its time."""
    deadline = time.monotonic() + LONGEST_S
    while all(e.kind == "state" for e in store.events(study)[behind:]) and not _is_over(store, study):
        if time.monotonic() > deadline:
            raise TimeoutError("no event")
        time.sleep(0.02)


def _phase(store: Store, study: str) -> str:
    """Say what the search was at: the kind of its newest event."""
    return store.events(study)[-1].kind


def _finish(store: Store, database: Path, cache: Path, study: str) -> None:
    worker = _fork_worker(database, cache)
    deadline = time.monotonic() + LONGEST_S
    while not _is_over(store, study):
        assert time.monotonic() < deadline, f"{study} does not end"
        time.sleep(0.1)
    os.kill(worker, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0


def _result(store: Store, study: str) -> dict[str, Any]:
    record = store.search(study)
    assert record is not None
    assert record.result is not None
    return record.result


if __name__ == "__main__":
    main()
