"""Accuracy of subnets straight after derivation, without any training, against other ways of cutting.

    python -m benchmarks.derive_bench -o benchmarks/results/derive.csv

Five tasks of CIFAR-100, several keep ratios (share of the base's MACs), the methods of ``methods``. Statistics
come from the train split less the search split, every choice is made on the search split, and the test split is
opened for the figures only. Each cell is kept under ``--work``, so the run can be stopped and started again.
"""

import argparse
import csv
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch_pruning

from benchmarks.derive_bench.methods import METHODS, OTHERS, CutTask
from nuwa_search.core.arch import arch_from_dict, dict_from_arch
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_macs
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.images import ImageSet
from nuwa_search.core.logits import logits_of
from nuwa_search.core.task import make_task
from nuwa_search.core.tensors import split_tensors
from nuwa_search.core.vit import PlainViT

KEEPS = (0.6, 0.4, 0.25, 0.15)
RANDOM_SEEDS = {"random_25": (25, 25), "random_50": (50, 50)}
"""Name to (number of classes, seed of numpy's default_rng(seed).permutation(100))."""
TASKS: dict[str, tuple[str, ...]] = {
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "ten": tuple(str(k) for k in (3, 10, 12, 21, 37, 56, 63, 72, 83, 88)),
    **{
        name: tuple(str(k) for k in np.random.default_rng(seed).permutation(100)[:count])
        for name, (count, seed) in RANDOM_SEEDS.items()
    },
}
FIELDS = (
    "task", "num_classes", "class_seed", "keep", "method", "macs_share", "depth", "embed_dim", "top1_test",
    "num_test", "gap_to_ours", "gap_paired_se", "seconds", "arch_id", "protocol", "seed", "versions",
)  # fmt: skip


def main() -> None:
    """Fill what cells are missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("--data", type=Path, default=shared / "data" / "cifar100")
    parser.add_argument("--base", type=Path, default=shared / "models" / "vit_tiny_patch4_32.cifar100")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-derive"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/derive.csv"))
    options = parser.parse_args()
    base = load_base(str(options.base))
    splits = load_dataset(options.data, label_column="fine_label").splits
    for name in options.tasks:
        run_task(name, base, splits, options)
    write_table(options.work, options.output)


def run_task(name: str, base: Base, splits: dict[str, ImageSet], options: argparse.Namespace) -> None:
    """Fill the cells of one task that are not there yet."""
    cells = [(keep, method) for keep in options.keeps for method in options.methods]
    wanted = [cell for cell in [(1.0, "base"), *cells] if not cell_path(options.work, name, *cell).exists()]
    if not wanted:
        return
    task = make_task(splits, data="cifar100", base_labels=base.label_names, classes=TASKS[name])
    if task.base_classes is None:
        raise SystemExit(f"the base does not know the classes of {name}")
    setting = CutTask(
        base=base,
        base_folder=options.base,
        task=task,
        teacher=restrict_head(base.model, task.base_classes),
        train=split_tensors(task.train, base.preprocess),
        search=split_tensors(task.search, base.preprocess),
        cache=Cache(options.work / "cache"),
    )
    load_allocations(setting, options.work / name)
    test = split_tensors(task.test, base.preprocess)
    for keep, method in wanted:
        if method == "base":
            logits = logits_of(base.model, test.images, base.preprocess)
            own = torch.tensor(task.base_classes)[test.labels]
            save_cell(options.work, name, 1.0, "base, all classes", base.model, logits.argmax(1) == own, 0.0)
            model, seconds = setting.teacher, 0.0
        else:
            setting.allocation(keep)  # not part of deriving one subnet
            start = time.perf_counter()
            model = METHODS[method](setting, keep)
            seconds = time.perf_counter() - start
            save_allocations(setting, options.work / name)
        logits = logits_of(model, test.images, base.preprocess)
        save_cell(options.work, name, keep, method, model, logits.argmax(1) == test.labels, seconds)


def cell_path(work: Path, task: str, keep: float, method: str) -> Path:
    """Say where a cell is kept."""
    return work / task / f"{round(100 * keep)} {method.replace(':', '')}.json"


def save_cell(
    work: Path, task: str, keep: float, method: str, model: PlainViT, correct: torch.Tensor, seconds: float
) -> None:
    """Keep one cell: what was cut, and which test images it gets right."""
    cell = {
        "task": task,
        "keep": keep,
        "method": method,
        "macs": count_macs(model.arch),
        "arch": dict_from_arch(model.arch),
        "seconds": seconds,
        "correct": "".join(str(int(hit)) for hit in correct),
    }
    path = cell_path(work, task, keep, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cell))
    print(f"{task:12} {keep:4} {method:32} {100 * float(correct.double().mean()):5.1f}", flush=True)


def save_allocations(setting: CutTask, folder: Path) -> None:
    """Keep the allocations beside the cells."""
    rows = [[keep, removal, dict_from_arch(arch)] for (keep, removal), arch in setting.allocations.items()]
    (folder / "allocations.json").write_text(json.dumps(rows))


def load_allocations(setting: CutTask, folder: Path) -> None:
    """Read the allocations of an earlier run."""
    path = folder / "allocations.json"
    if path.exists():
        for keep, removal, arch in json.loads(path.read_text()):
            setting.allocations[keep, removal] = arch_from_dict(arch)


def write_table(work: Path, output: Path) -> None:
    """Turn all cells into one table, with paired gaps to ours, and averages over the tasks."""
    cells = [json.loads(p.read_text()) for p in sorted(work.glob("*/*.json")) if p.name != "allocations.json"]
    cells.sort(key=lambda c: (list(TASKS).index(c["task"]), -c["keep"], c["method"]))
    hits = {(c["task"], c["keep"], c["method"]): np.array([int(h) for h in c["correct"]]) for c in cells}
    full = {c["task"]: c["macs"] for c in cells if c["method"] == "base"}
    versions = f"torch {torch.__version__}, timm {timm.__version__}, torch-pruning {torch_pruning.__version__}"
    rows = []
    for cell in cells:
        mine = hits[cell["task"], cell["keep"], cell["method"]]
        ours = hits.get((cell["task"], cell["keep"], "ours"))
        gap = mine - ours if ours is not None and cell["method"] != "ours" else None
        arch = arch_from_dict(cell["arch"])
        rows.append(
            {
                "task": cell["task"],
                "num_classes": len(TASKS[cell["task"]]),
                "class_seed": RANDOM_SEEDS.get(cell["task"], ("", ""))[1],
                "keep": cell["keep"],
                "method": cell["method"],
                "macs_share": round(cell["macs"] / full[cell["task"]], 4),
                "depth": arch.depth,
                "embed_dim": arch.embed_dim,
                "top1_test": round(float(mine.mean()), 4),
                "num_test": len(mine),
                "gap_to_ours": "" if gap is None else round(float(gap.mean()), 4),
                "gap_paired_se": "" if gap is None else round(float(gap.std(ddof=1)) / math.sqrt(len(gap)), 4),
                "seconds": round(cell["seconds"], 2),
                "arch_id": arch.arch_id,
                "protocol": "no training; statistics: train; choices: search; figures: test",
                "seed": 0,
                "versions": f"{versions}, Python {platform.python_version()}",
            }
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print_averages(rows)


def print_averages(rows: list[dict[str, object]]) -> None:
    """Mean top-1 over the tasks per keep ratio and method, where all tasks are there."""
    methods = ["base, all classes", "base", *METHODS]
    for keep in sorted({float(str(r["keep"])) for r in rows}, reverse=True):
        print(f"\nkeep {keep}: mean top-1 over the tasks, in points")
        for method in methods:
            found = [float(str(r["top1_test"])) for r in rows if r["keep"] == keep and r["method"] == method]
            if found:
                others = " (other method)" if method in OTHERS else ""
                print(f"  {method:32} {100 * sum(found) / len(found):5.1f}  over {len(found)} tasks{others}")


if __name__ == "__main__":
    main()
