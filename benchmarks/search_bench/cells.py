"""One cell of the grid: a method on a task, device, budget and seed; cells that ran are read back."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.search_bench.methods import METHODS, Outcome
from benchmarks.search_bench.setting import (
    DeviceSetting,
    Places,
    TaskSetting,
    budget_of,
    distil,
    open_bench_device,
    open_task,
    test_top1,
)
from benchmarks.search_bench.small import small_vit

SMALL = "small-vit"
SMALL_LONG = "small-vit-3x"
"""The small ViT tuned for three times the steps."""


@dataclass(frozen=True)
class Cell:
    """What identifies a cell; everything that changes its result is here."""

    device: str
    task: str
    share: float
    seed: int
    method: str
    trials: int
    steps: int
    pretrain_steps: int


def grid(
    *,
    devices: list[str],
    tasks: list[str],
    shares: list[float],
    seeds: int,
    methods: list[str],
    trials: int,
    steps: int,
    pretrain_steps: int,
) -> Iterator[Cell]:
    """List cells so that a grid cut short has compared all methods on its first settings."""
    for seed in range(seeds):
        for device in devices:
            for task in tasks:
                for share in shares:
                    for method in methods:
                        uses_pretraining = pretrain_steps if method.startswith(SMALL) else 0
                        yield Cell(device, task, share, seed, method, trials, steps, uses_pretraining)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Read the cells that ran; a last line cut short by a kill is left out."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def run_cell(cell: Cell, places: Places) -> dict[str, Any]:
    """Search, distil, measure."""
    task = open_task(places, cell.task)
    device = open_bench_device(places, cell.device, task.teacher.arch.num_classes)
    budget_ms = budget_of(device, cell.share)
    begin = time.perf_counter()
    outcome = _search(cell, places, task, device, budget_ms)
    search_seconds = time.perf_counter() - begin
    row: dict[str, Any] = {
        **asdict(cell),
        "base_ms": device.base_ms,
        "budget_ms": budget_ms,
        "search_seconds": round(search_seconds, 1),
        "library_seconds": round(task.library_seconds, 1) if cell.method == "ours" else 0.0,
        "library_rows": len(task.library.rows) if cell.method == "ours" else 0,
        "scored": len(outcome.curve),
        "curve": [[round(ms, 4), round(kl, 5)] for ms, kl in outcome.curve],
        "is_reachable": outcome.arch is not None,
    }
    arch = outcome.arch or outcome.fastest
    if arch is None:
        return row
    model = outcome.model or task.deriver.derive(arch)
    steps = 3 * cell.steps if cell.method == SMALL_LONG else cell.steps
    top1_search, top1_test = distil(places, task, model, steps=steps, seed=cell.seed)
    measured_ms = device.measure(arch)
    return row | {
        "depth": arch.depth,
        "measured_ms": measured_ms,
        "is_violated": outcome.arch is not None and measured_ms > budget_ms,
        "kl": task.scorer.score(model).kl,
        "test_top1_derived": test_top1(task, model),
        "search_top1": top1_search,
        "test_top1": top1_test,
        "base_test_top1": test_top1(task, task.teacher),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _search(cell: Cell, places: Places, task: TaskSetting, device: DeviceSetting, budget_ms: float) -> Outcome:
    if cell.method.startswith(SMALL):
        return small_vit(places, task, device, budget_ms, steps=cell.pretrain_steps)
    return METHODS[cell.method](task, device, budget_ms, cell.trials, cell.seed)
