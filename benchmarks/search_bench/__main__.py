"""Search methods against each other at equal budgets, evaluations and distillation; see `--help`.

python -m benchmarks.search_bench            # the default grid, cell by cell; done cells are skipped
python -m benchmarks.search_bench tables     # tables from the cells that ran
python -m benchmarks.search_bench predictor  # the accuracy predictor on what the cells scored
python -m benchmarks.search_bench exhaustive # a small space, every arch scored
python -m benchmarks.search_bench fronts     # area of the front against scored subnets
python -m benchmarks.search_bench speed      # a study of 200 scored subnets
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.search_bench.cells import SMALL, SMALL_LONG, Cell, grid, read_cells, run_cell
from benchmarks.search_bench.exhaustive import exhaustive_table
from benchmarks.search_bench.fronts import front_table
from benchmarks.search_bench.methods import ABLATIONS, METHODS
from benchmarks.search_bench.predictor import predictor_table
from benchmarks.search_bench.setting import CLASSES, Places
from benchmarks.search_bench.speed import speed_table
from benchmarks.search_bench.tables import accuracy_table, evaluations_table, ranks, tau_table, write_table

RESULTS = Path("benchmarks/results")
ALL_METHODS = [*METHODS, SMALL, SMALL_LONG]
PRETRAIN_STEPS = 625
"""One pass over the 40 000 training images of all classes; more does not fit the default grid's time."""
FRONT_TRIALS = {"ours": 60, "random": 300, "nsga2": 300}
FRONT_SHARE = 0.7
"""Budget below which fronts are compared, as a share of the base's latency."""
SPEED_SHARE = 0.5
ACTIONS = ("run", "tables", "predictor", "exhaustive", "fronts", "speed")


def main() -> None:
    """Run what is asked for, then write its tables."""
    options = _parse()
    places = Places(options.data, options.base, options.cache)
    device, task = options.devices[0], options.tasks[0]
    seeds = range(options.seeds)
    match options.action:
        case "predictor":
            write_table(predictor_table(places, tasks=options.tasks), _table(options, "predictor"))
        case "exhaustive":
            found = exhaustive_table(places, device_name=device, task_name=task, seeds=seeds)
            write_table(found, _table(options, "exhaustive"))
        case "fronts":
            found = front_table(
                places, device_name=device, task_name=task, share=FRONT_SHARE, seeds=seeds, trials=FRONT_TRIALS
            )
            write_table(found, _table(options, "fronts"))
        case "speed":
            found = speed_table(places, device_name=device, task_name=task, share=SPEED_SHARE)
            write_table(found, _table(options, "speed"))
        case "run":
            _run(options, places)
            _write_tables(options)
        case _:
            _write_tables(options)


def _table(options: argparse.Namespace, name: str) -> Path:
    path: Path = options.cells.with_name(f"search_{name}.csv")
    return path


def _write_tables(options: argparse.Namespace) -> None:
    rows = read_cells(options.cells)
    accuracy = accuracy_table(rows)
    write_table(accuracy, _table(options, "accuracy"))
    write_table(evaluations_table(rows), _table(options, "evaluations"))
    write_table(tau_table(rows), _table(options, "score_tau"))
    for line in ranks(accuracy):
        print(line)


def _run(options: argparse.Namespace, places: Places) -> None:
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
        told = {k: v for k, v in row.items() if k not in ("curve", "arch", *names)}
        print(f"{cell.device} {cell.task} {cell.share:g} seed {cell.seed} {cell.method}: {told}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_bench", description=__doc__)
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="run")
    parser.add_argument("--full", action="store_true", help="more tasks, budgets and the host, longer runs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar100"))
    parser.add_argument("--base", default="default")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/nuwa-search/bench")
    parser.add_argument("--cells", type=Path, default=RESULTS / "search_cells.jsonl")
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--tasks", nargs="+", choices=list(CLASSES))
    parser.add_argument("--shares", nargs="+", type=float, help="budgets as shares of the base's latency")
    parser.add_argument("--methods", nargs="+", choices=[*ALL_METHODS, *ABLATIONS], default=ALL_METHODS)
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
