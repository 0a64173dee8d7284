"""Time the search database: a million subnets, ten million latency rows, on SQLite and PostgreSQL.

    python -m benchmarks.store --url runs/bench-store.sqlite
    python -m benchmarks.store --url postgresql://user@host/empty_database

Writes ``benchmarks/results/store_<database>.md``. A database that holds bench rows already is used
again, any other database must be empty.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.store_data import bench_classes, bench_devices, fill_store
from nuwa_search.core.emulator import device_label
from nuwa_search.store.pareto import front_query
from nuwa_search.store.records import ScoreRecord
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import DeviceRow, LatencyRow, SubnetRow
from nuwa_search.store.wanted import SubnetFilter, resolve_filter

RESULTS = Path(__file__).parent / "results"
REPETITIONS = 5
BATCH_ROWS = 2000
NUM_BATCHES = 5

DEVICE = device_label(bench_devices(2)[1])
QUERIES: dict[str, tuple[SubnetFilter, bool]] = {
    "--max-ms 8 --min-top1 0.6 --classes C": (SubnetFilter(max_ms=8, min_top1=0.6, classes=bench_classes(3)), False),
    "--device D --max-ms 8 --min-top1 0.4": (SubnetFilter(device=DEVICE, max_ms=8, min_top1=0.4), False),
    "--device D --max-ms 8": (SubnetFilter(device=DEVICE, max_ms=8), False),
    "--device D": (SubnetFilter(device=DEVICE), False),
    "--device D --measured-only": (SubnetFilter(device=DEVICE, measured_only=True), False),
    "--device D --classes C --pareto": (SubnetFilter(device=DEVICE, classes=bench_classes(3)), True),
    "--device D --max-ms 8 --pareto": (SubnetFilter(device=DEVICE, max_ms=8), True),
    "--device D --pareto": (SubnetFilter(device=DEVICE), True),
    "--classes C --pareto": (SubnetFilter(classes=bench_classes(3)), True),
    "--pareto": (SubnetFilter(), True),
    "--base B --pareto": (SubnetFilter(base="bench-base"), True),
    "--measured-only --pareto": (SubnetFilter(measured_only=True), True),
    "(no filter)": (SubnetFilter(), False),
}


def median_s(work: Callable[[], object]) -> tuple[float, float]:
    """Time ``work`` after one unmeasured run: median seconds on the wall, and of this process on a processor."""
    work()
    wall, busy = [], []
    for _ in range(REPETITIONS):
        started, begun = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        busy.append(time.process_time() - begun)
    return statistics.median(wall), statistics.median(busy)


def rows_per_second(store: Store, *, is_best: bool) -> str:
    """Store batches of new scores and count rows per second on the wall: the median batch, and the slowest.

    Args:
        store: A filled database.
        is_best: Whether the scores become the accuracy of their subnets, a hair better.
    """
    with store.read() as connection:
        query = select(SubnetRow.subnet_id, SubnetRow.top1).limit(BATCH_ROWS)
        subnets = [(subnet_id, top1 or 0.0) for subnet_id, top1 in connection.execute(query)]
    kind, split = ("top1", "test") if is_best else ("top1_derived", "search")
    seconds = []
    for batch in range(NUM_BATCHES):
        seed = time.time_ns() % 10**12 + batch  # scores that an earlier run has not stored
        scores = [
            ScoreRecord(subnet_id, kind, split, 200, seed, top1 + 1e-6 * (batch + 1)) for subnet_id, top1 in subnets
        ]
        started = time.perf_counter()
        store.record_scores(scores)
        seconds.append(time.perf_counter() - started)
    return f"{BATCH_ROWS / statistics.median(seconds):.0f} rows/s (slowest {BATCH_ROWS / max(seconds):.0f})"


def front_size(store: Store, wanted: SubnetFilter) -> int:
    """Count the points of a front."""
    with store.read() as connection:
        front = front_query(resolve_filter(connection, wanted))
        return connection.execute(select(func.count()).select_from(front)).scalar_one()


def main() -> None:
    """Fill the database where it is empty, time, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="path of a SQLite file, or URL of a PostgreSQL database")
    parser.add_argument("--subnets", type=int, default=1_000_000)
    parser.add_argument("--devices", type=int, default=10)
    args = parser.parse_args()
    with open_store(args.url) as store:
        with store.read() as connection:
            is_empty = connection.execute(select(func.count()).select_from(DeviceRow)).scalar_one() == 0
        if is_empty:
            started = time.perf_counter()
            fill_store(store, num_subnets=args.subnets, num_devices=args.devices)
            print(f"filled in {time.perf_counter() - started:.0f} s")
        with store.read() as connection:
            num_subnets = connection.execute(select(func.count()).select_from(SubnetRow)).scalar_one()
            num_latencies = connection.execute(select(func.count()).select_from(LatencyRow)).scalar_one()
        name = "sqlite" if store.is_sqlite else "postgresql"
        lines = [
            f"# The search database on {name}",
            "",
            f"{num_subnets} subnets, {num_latencies} latency rows; medians of {REPETITIONS} runs, `--limit 50`: "
            "seconds on the wall, and of this process on a processor (a server's own are not in it). *rows* is the "
            f"size of the whole front. {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when it began. Made by "
            "`python -m benchmarks.store`.",
            "",
            "| nuwa query | wall s | processor s | rows |",
            "|---|---|---|---|",
        ]
        for title, (wanted, pareto) in QUERIES.items():
            wall, busy = median_s(partial(store.subnets.find, wanted, pareto=pareto, limit=50))
            rows = front_size(store, wanted) if pareto else len(store.subnets.find(wanted, limit=50))
            lines.append(f"| `{title}` | {wall:.3f} | {busy:.3f} | {rows} |")
            print(lines[-1], flush=True)
        lines += [
            "",
            f"Scores stored in batches of {BATCH_ROWS}: {rows_per_second(store, is_best=False)}; scores that become "
            f"the accuracy of subnets priced on all devices: {rows_per_second(store, is_best=True)}.",
        ]
        print(lines[-1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"store_{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
