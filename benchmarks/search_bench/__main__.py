"""Command line of the search benchmark."""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.search_bench.cells import SMALL, SMALL_LONG, Cell, grid, read_cells, run_cell
from benchmarks.search_bench.methods import METHODS
from benchmarks.search_bench.setting import CLASSES, Places
from benchmarks.search_bench.tables import accuracy_table, evaluations_table, ranks, tau_table, write_table

RESULTS = Path("benchmarks/results")
ALL_METHODS = [*METHODS, SMALL, SMALL_LONG]
PRETRAIN_STEPS = 625
"""One pass over the 40 000 training images of all classes; more does not fit the default grid's time."""


def main() -> None:
    """Run the grid, then write its tables."""
    options = _parse()
    if options.action == "run":
        _run(options)
    rows = read_cells(options.cells)
    accuracy = accuracy_table(rows)
    write_table(accuracy, options.cells.with_name("search_accuracy.csv"))
    write_table(evaluations_table(rows), options.cells.with_name("search_evaluations.csv"))
    write_table(tau_table(rows), options.cells.with_name("search_score_tau.csv"))
    for line in ranks(accuracy):
        print(line)


def _run(options: argparse.Namespace) -> None:
    places = Places(options.data, options.base, options.cache)
    cells = list(
        grid(
            devices=options.devices,
            tasks=options.tasks,
            shares=options.shares,
            seeds=options.seeds,
            methods=options.methods,
            trials=options.trials,
            steps=options.steps,
            pretrain_steps=options.pretrain_steps,
        )
    )
    names = set(Cell.__dataclass_fields__)
    done = [{k: v for k, v in row.items() if k in names} for row in read_cells(options.cells)]
    left = [cell for cell in cells if asdict(cell) not in done]
    print(f"{len(cells)} cells, {len(left)} left", flush=True)
    begin = time.monotonic()
    options.cells.parent.mkdir(parents=True, exist_ok=True)
    for cell in left:
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"stopped after {options.minutes:g} minutes; run it again to go on")
            return
        row = run_cell(cell, places)
        with options.cells.open("a") as file:
            file.write(json.dumps(row) + "\n")
        told = {k: v for k, v in row.items() if k not in ("curve", *names)}
        print(f"{cell.device} {cell.task} {cell.share:g} seed {cell.seed} {cell.method}: {told}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/search.py", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("run", "tables"), default="run")
    parser.add_argument("--full", action="store_true", help="more tasks, budgets and the host, longer runs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar100"))
    parser.add_argument("--base", default="default")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/nuwa-search/bench")
    parser.add_argument("--cells", type=Path, default=RESULTS / "search_cells.jsonl")
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--tasks", nargs="+", choices=list(CLASSES))
    parser.add_argument("--shares", nargs="+", type=float, help="budgets as shares of the base's latency")
    parser.add_argument("--methods", nargs="+", choices=ALL_METHODS, default=ALL_METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=60, help="scored subnets per method")
    parser.add_argument("--steps", type=int, help="distillation steps of 64 images")
    parser.add_argument("--pretrain-steps", type=int, help="of the small ViT, 64 images each")
    parser.add_argument("--minutes", type=float, default=150.0, help="start no cell after so many")
    options = parser.parse_args()
    full = options.full
    options.devices = options.devices or (["jetson-nano", "host"] if full else ["jetson-nano"])
    options.tasks = options.tasks or list(CLASSES)[: 4 if full else 2]
    options.shares = options.shares or ([0.6, 0.5, 0.4, 0.3, 0.25] if full else [0.5, 0.3])
    options.steps = options.steps or (400 if full else 100)
    options.pretrain_steps = options.pretrain_steps or (8000 if full else PRETRAIN_STEPS)
    return options


main()
