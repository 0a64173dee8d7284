"""One cell of the grid: a method on a task, device, budget and seed; cells that ran are read back."""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.search_bench.methods import ABLATIONS, METHODS, MethodResult
from benchmarks.search_bench.setting import (
    DeviceSetting,
    Places,
    TaskSetting,
    about_device,
    budget_of,
    distil,
    open_bench_device,
    open_task,
    test_top1,
)
from benchmarks.search_bench.small import small_vit
from benchmarks.search_bench.tables import OURS, SEARCHES
from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.cost import count_macs
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.score import score_split
from nuwa_search.search.judge import Distilled

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
    """List cells so that a grid cut short has compared all methods on its first settings.

    Within a seed and task the small ViTs come last: their pretraining is the dearest cell by far.
    """
    small = [method for method in methods if method.startswith(SMALL)]
    cuts = [method for method in methods if method not in small]
    for seed, device, task in itertools.product(range(seeds), devices, tasks):
        for group, pretraining in ((cuts, 0), (small, pretrain_steps)):
            for share, method in itertools.product(shares, group):
                yield Cell(device, task, share, seed, method, trials, steps, pretraining)


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
    keep_scores(places, cell, outcome)
    has_library = cell.method.startswith(OURS)
    row: dict[str, Any] = {
        **asdict(cell),
        **about_device(device),
        "base_ms": device.base_ms,
        "budget_ms": budget_ms,
        "search_seconds": round(search_seconds, 1),
        "library_seconds": round(task.library_seconds, 1) if has_library else 0.0,
        "library_rows": len(task.library.rows) if has_library else 0,
        "scored": len(outcome.scored),
        "misses": outcome.misses,
        "curve": [[round(s.predicted_ms, 4), None if s.kl is None else round(s.kl, 5)] for s in outcome.scored],
        "is_reachable": outcome.arch is not None,
    }
    arch = outcome.arch or outcome.fastest
    if arch is None or outcome.model is None:
        return row
    steps = 3 * cell.steps if cell.method == SMALL_LONG else cell.steps
    tuned, distil_seconds = _distilled(places, task, outcome.model, steps=steps, seed=cell.seed)
    measured_ms = device.measure(arch)
    test = score_split(tuned.model, task.test, task.tensors.preprocess)
    return row | {
        "depth": arch.depth,
        "macs": count_macs(arch),
        "arch": dict_from_arch(arch),
        "measured_ms": measured_ms,
        "is_violated": outcome.arch is not None and measured_ms > budget_ms,
        "score_kl": outcome.score_kl,
        "kl": task.scorer.score(outcome.model).kl,
        "test_top1_derived": test_top1(task, outcome.model),
        "search_top1_derived": score_split(outcome.model, task.tensors.search, task.tensors.preprocess).top1,
        "search_top1": tuned.top1,
        "test_top1": test.top1,
        "test_loss": test.loss,
        "base_test_top1": test_top1(task, task.teacher),
        "distil_steps": steps,
        "distil_seconds": round(distil_seconds, 1),
    }


_DISTILLED: dict[tuple[str, str, int, int], tuple[Distilled, float]] = {}


def _distilled(places: Places, task: TaskSetting, model: PlainViT, *, steps: int, seed: int) -> tuple[Distilled, float]:
    """Distil, and say how many seconds it took; the same weights at the same seed are distilled once.

    A method that cannot reach two budgets has the same fastest net at both.
    """
    key = (task.name, hash_tensors(model.state_dict()), steps, seed)
    if key not in _DISTILLED:
        begin = time.perf_counter()
        tuned = distil(places, task, model, steps=steps, seed=seed)
        _DISTILLED[key] = tuned, time.perf_counter() - begin
    return _DISTILLED[key]


def _search(cell: Cell, places: Places, task: TaskSetting, device: DeviceSetting, budget_ms: float) -> MethodResult:
    if cell.method.startswith(SMALL):
        return small_vit(places, task, device, budget_ms, steps=cell.pretrain_steps)
    return (METHODS | ABLATIONS)[cell.method](task, device, budget_ms, cell.trials, cell.seed)


def keep_scores(places: Places, cell: Cell, outcome: MethodResult) -> None:
    """Keep every scored subnet of a cell, for the accuracy predictor's report card."""
    if cell.method in SEARCHES and outcome.scored:
        folder = places.cache / "scores" / cell.task
        folder.mkdir(parents=True, exist_ok=True)
        rows = [[dict_from_arch(s.arch), s.predicted_ms, s.kl] for s in outcome.scored]
        path = folder / f"{cell.device}-{cell.share:g}-{cell.seed}-{cell.method}.json"
        path.write_text(json.dumps(rows))
