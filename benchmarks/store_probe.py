"""Fill a search database, or time it, by the code of whichever tree this file runs in: this one's, or 494cfc3's.

    PYTHONPATH=TREE:TREE/benchmarks python store_probe.py fill|time URL [--subnets N] [--old]

Prints one JSON document when timing. It names modules of both trees, which no import statement could.
"""

import argparse
import json
import statistics
import sys
import time
from importlib import import_module

IS_OLD = "--old" in sys.argv
PACKAGE = "nuwa.store" if IS_OLD else "nuwa_search.store"
BENCHMARKS = "" if IS_OLD else "benchmarks."
BATCH_ROWS, NUM_BATCHES, NUM_FRONTS = 2000, 3, 3


def timed(url: str) -> dict[str, float]:
    """Time what ``benchmarks/store_ratio.py`` compares; rates are those of the median batch or front."""
    records, wanted = import_module(f"{PACKAGE}.records"), import_module(f"{PACKAGE}.wanted")
    score = records.Score if IS_OLD else records.ScoreRecord
    with import_module(f"{PACKAGE}.store").open_store(url) as store:
        if IS_OLD:
            find = import_module(f"{PACKAGE}.query").find_subnets
            rows = find(store, wanted.SubnetFilter(), limit=BATCH_ROWS)
        else:
            rows = store.subnets.find(limit=BATCH_ROWS)
        subnets = {row["subnet_id"]: row["top1"] for row in rows}
        rates: dict[str, float] = {}
        for name, kind, split in (("best", "top1", "test"), ("other", "top1_derived", "search")):
            seconds = []
            for batch in range(NUM_BATCHES):
                seed = time.time_ns() % 10**12 + batch  # scores that an earlier run has not stored
                scores = [score(k, kind, split, 200, seed, top1 + 1e-6 * (batch + 1)) for k, top1 in subnets.items()]
                begun = time.perf_counter()
                store.record_scores(scores)
                seconds.append((time.perf_counter() - begun) / len(scores))
            rates[name] = 1 / statistics.median(seconds)
        fronts = []
        for _ in range(NUM_FRONTS):
            begun = time.perf_counter()
            found = find(store, wanted.SubnetFilter(), pareto=True) if IS_OLD else store.subnets.find(pareto=True)
            fronts.append(time.perf_counter() - begun)
    return {**rates, "front_s": statistics.median(fronts), "front_rows": float(len(found))}


def main() -> None:
    """Fill or time one database."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("fill", "time"))
    parser.add_argument("url")
    parser.add_argument("--subnets", type=int, default=1_000_000)
    parser.add_argument("--old", action="store_true", help="the tree is 494cfc3's")
    args = parser.parse_args()
    if args.what == "time":
        print(json.dumps(timed(args.url)))
        return
    with import_module(f"{PACKAGE}.store").open_store(args.url) as store:
        import_module(f"{BENCHMARKS}store_data").fill_store(store, num_subnets=args.subnets, num_devices=10)


if __name__ == "__main__":
    main()
