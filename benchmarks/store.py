"""Time the search database: a million subnets, ten million latency rows, on SQLite and PostgreSQL.

    python benchmarks/store.py --url runs/bench-store.sqlite
    python benchmarks/store.py --url postgresql://user@host/empty_database

Writes ``benchmarks/results/store_<database>.md``. A database that holds bench rows already is used
again, any other database must be empty.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import func, select
from store_data import bench_classes, fill_store

from nuwa.store.pareto import front_query
from nuwa.store.query import find_subnets
from nuwa.store.records import Score
from nuwa.store.store import Store, open_store
from nuwa.store.tables import DeviceRow, LatencyRow, SubnetRow
from nuwa.store.wanted import SubnetFilter, resolve_filter

RESULTS = Path(__file__).parent / "results"
REPETITIONS = 5
BATCH_ROWS = 2000
NUM_BATCHES = 5

QUERIES: dict[str, tuple[SubnetFilter, bool]] = {
    "--max-ms 8 --min-top1 0.6 --classes C": (SubnetFilter(max_ms=8, min_top1=0.6, classes=bench_classes(3)), False),
    "--device D --max-ms 8 --min-top1 0.4": (SubnetFilter(device="dev-1", max_ms=8, min_top1=0.4), False),
    "--device D --max-ms 8": (SubnetFilter(device="dev-1", max_ms=8), False),
    "--device D": (SubnetFilter(device="dev-1"), False),
    "--device D --measured-only": (SubnetFilter(device="dev-1", measured_only=True), False),
    "--device D --classes C --pareto": (SubnetFilter(device="dev-1", classes=bench_classes(3)), True),
    "--device D --max-ms 8 --pareto": (SubnetFilter(device="dev-1", max_ms=8), True),
    "--device D --pareto": (SubnetFilter(device="dev-1"), True),
    "--classes C --pareto": (SubnetFilter(classes=bench_classes(3)), True),
    "--pareto": (SubnetFilter(), True),
    "(no filter)": (SubnetFilter(), False),
}


def median_s(work: Callable[[], object]) -> float:
    """Time ``work`` after one unmeasured run: median seconds on the wall."""
    work()
    seconds = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def rows_per_second(store: Store) -> float:
    """Store batches of new scores and count rows per second on the wall, the slowest batch counted."""
    with store.read() as connection:
        ids = connection.execute(select(SubnetRow.subnet_id).limit(BATCH_ROWS)).scalars().all()
    slowest = 0.0
    for batch in range(NUM_BATCHES):
        seed = time.time_ns() % 10**12 + batch  # scores that an earlier run has not stored
        scores = [Score(subnet_id, "top1_derived", "search", 200, seed, 0.5) for subnet_id in ids]
        started = time.perf_counter()
        store.record_scores(scores)
        slowest = max(slowest, time.perf_counter() - started)
    return BATCH_ROWS / slowest


def front_size(store: Store, wanted: SubnetFilter) -> int:
    """Count the points of a front."""
    with store.read() as connection:
        front = front_query(resolve_filter(connection, wanted), is_sqlite=store.is_sqlite)
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
            f"{num_subnets} subnets, {num_latencies} latency rows; median seconds on the wall of {REPETITIONS} runs, "
            "`--limit 50`; *rows* is the size of the whole front. Made by `python benchmarks/store.py`.",
            "",
            "| nuwa query | s | rows |",
            "|---|---|---|",
        ]
        for title, (wanted, pareto) in QUERIES.items():
            seconds = median_s(partial(find_subnets, store, wanted, pareto=pareto, limit=50))
            rows = front_size(store, wanted) if pareto else len(find_subnets(store, wanted, limit=50))
            lines.append(f"| `{title}` | {seconds:.3f} | {rows} |")
            print(lines[-1], flush=True)
        lines += ["", f"Scores stored in batches of {BATCH_ROWS}: {rows_per_second(store):.0f} rows/s (slowest batch)."]
        print(lines[-1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"store_{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
