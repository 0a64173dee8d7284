"""What a search wins by choosing the image's size too, beside what the smaller picture alone gives.

    python -m benchmarks.img_sizes                             all tasks, seed 0
    python -m benchmarks.img_sizes --tasks textiles --seeds 0 1 2

Each task is searched twice with the same seed and budget before fine-tuning, with the image's size pinned to the base's
own and free, and the uncut base is measured at each size (a head that was fitted is fitted again there). Cells that ran
are in ``benchmarks/results/img_sizes_cells.jsonl``, per image, and are not run again; ``img_sizes.csv`` is written anew
after each. One thread; statistics, head and single cuts are kept in ``--cache``. About 25 CPU minutes a task and seed
on the large base, 5 on the small one.
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.deploy_tables import machine, machines_of, origin
from benchmarks.equal_seconds.setting import PEOPLE
from benchmarks.img_sizes_judge import SizedJudge
from benchmarks.img_sizes_table import DIFFERENCE, PINNED, POOLED, UNCUT, WAYS, Cell, table_rows
from benchmarks.old_tree import ROOT
from benchmarks.real_size.jobs import JOBS, VEHICLES, Job
from benchmarks.real_size.opened import measured, open_inputs
from nuwa_search.core.img_size import size_words
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.search import run_search
from nuwa_search.search.job.winner import SizedBase
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.result import Delivered
from nuwa_search.store.store import open_store

CELLS, TABLE = "img_sizes_cells.jsonl", "img_sizes.csv"
PROTOCOL = (
    "one thread; same seed and budget, winners refined, not fine-tuned; KL to the base at its own size; FP32; 95 % "
    "intervals: Wilson of shares, bootstrap over images of KL and of paired differences"
)


@dataclass(frozen=True)
class SizedJob:
    """A job, and the image sizes below the base's own that its free search may choose."""

    job: Job
    smaller: tuple[int, ...]


LARGE_SIZES = (112, 168)
"""A half and three quarters of 224 pixels: 65 and 145 tokens of 257."""
TASKS = {
    "textiles": SizedJob(JOBS["textiles"], LARGE_SIZES),
    "tiles": SizedJob(JOBS["tiles"], LARGE_SIZES),
    "vehicles": SizedJob(Job(DEMO_BASE, "cifar100", 12.0, VEHICLES), LARGE_SIZES),
    "small-people": SizedJob(Job(PACKAGED_BASE, "cifar100", 5.5, PEOPLE), (16, 24)),
}
"""Fine defects on the large base; pictures of 32 pixels, enlarged, under a tight budget; such on the small base."""


def main() -> None:
    """Run what is missing and write the table."""
    args = _arguments()
    torch.set_num_threads(1)
    for name in args.tasks:
        for seed in args.seeds:
            there = {cell["row"] for cell in _read(args.results) if (cell["task"], cell["seed"]) == (name, seed)}
            missing = {row: size for row, size in rows_of(TASKS[name]).items() if row not in there}
            if missing:
                _run(name, seed, missing, args)
    _write_table(args.results)
    print((args.results / TABLE).read_text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--trials", type=int, default=60, help="nets that each search scores")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/nuwa-search/bench")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the table")
    return parser.parse_args()


def rows_of(one: SizedJob) -> dict[str, int | None]:
    """List the rows of a task: both searches, and the uncut base at its own size (None) and the smaller ones."""
    return dict.fromkeys(WAYS) | {UNCUT: None} | {f"{UNCUT} at {size}": size for size in one.smaller}


def _run(name: str, seed: int, missing: dict[str, int | None], args: argparse.Namespace) -> None:
    """Run the missing rows of one task and seed, and keep each as it is there."""
    one = TASKS[name]
    judge = SizedJudge(open_inputs(one.job, shared=args.shared, cache_dir=args.cache, seed=seed))
    for row, size in missing.items():
        print(f"{name}, seed {seed}: {row}", flush=True)
        begun = time.process_time()
        found = _uncut(judge, size) if row not in WAYS else _searched(one, row, judge, args=args, seed=seed)
        spent = round(time.process_time() - begun, 1)
        cell = {"task": name, "seed": seed, "row": row, "budget_ms": one.job.budget_ms, "cpu_seconds": spent} | found
        cell["machine"] = machine()
        print(f"  {cell['img_size']} pixels, {cell['measured_ms']} ms, {spent} CPU seconds", flush=True)
        args.results.mkdir(parents=True, exist_ok=True)
        with (args.results / CELLS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(cell) + "\n")
        _write_table(args.results)


def _searched(one: SizedJob, way: str, judge: SizedJudge, *, args: argparse.Namespace, seed: int) -> Cell:
    """Search before fine-tuning, and judge the refined winner."""
    own, job = judge.inputs.base.arch.img_size, one.job
    with tempfile.TemporaryDirectory() as folder:
        request = SearchRequest(
            job.budget_ms,
            base=job.base,
            data=job.data_in(args.shared),
            classes=job.classes,
            img_sizes=(own,) if way == PINNED else (own, *one.smaller),
            trials=args.trials,
            accelerator="cpu",
            finetune=False,
            deploy=False,
            seed=seed,
            bundle_dir=f"{folder}/bundle",
        )
        store = open_store(f"{folder}/nuwa.sqlite")
        hooks = Hooks(
            stage=lambda stage: print(f"  {stage}, {time.process_time():.0f} CPU seconds", flush=True),
            step=lambda text: print(f"    {text}", flush=True),
        )
        found = run_search(request, store=store, study="cell", resume=False, cache_dir=args.cache, hooks=hooks)
        store.close()
        ending = found.result.ending
        if not isinstance(ending, Delivered):
            print(f"  {found.error}", flush=True)
            return {"img_size": None, "measured_ms": None, "search": None, "test": None}
        subnet, model = ending.subnet, ending.bundles[0].load_model()
    told = {"img_size": size_words(subnet.arch.img_size), "measured_ms": subnet.measurement.latency_ms.median}
    return told | judge.told(model)


def _uncut(judge: SizedJudge, size: int | None) -> Cell:
    """Measure and judge the base, nothing cut, at its own size (None) or a smaller one."""
    inputs = judge.inputs
    model = inputs.teacher.model if size is None else SizedBase(inputs, size).model()
    found = measured(model.arch, inputs.device)
    told = {"img_size": size_words(model.arch.img_size), "measured_ms": found.latency_ms.median}
    return told | judge.told(model)


def _read(results: Path) -> list[Cell]:
    path = results / CELLS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write_table(results: Path) -> None:
    cells = _read(results)
    rows = table_rows(cells)
    if not rows:
        return
    told = origin(runtime="torch", precision="fp32, bf16 scores", seed=0, protocol=PROTOCOL)
    told.pop("seed")
    told["threads"] = 1
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (results / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*names, *told], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | told | machines_of(_cells_of(row, cells)) for row in rows)


def _cells_of(row: Mapping[str, Any], cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that a row is made of: one, both searches of a difference, or all that are pooled."""
    names = [name for name in ("task", "seed") if row.get(name) not in (None, POOLED)]
    wanted = WAYS if row["row"] == DIFFERENCE else (row["row"],)
    return [cell for cell in cells if cell["row"] in wanted and all(cell[name] == row[name] for name in names)]


if __name__ == "__main__":
    main()
