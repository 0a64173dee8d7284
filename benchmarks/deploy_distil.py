"""Distilled against not distilled at equal steps, and the engine's speed against a bare loop.

    python -m benchmarks.deploy_distil gain --data ../shared/data/cifar100 -o benchmarks/results/deploy_distil.csv
    python -m benchmarks.deploy_distil speed -o benchmarks/results/deploy_train_speed.csv

``gain`` adds one row per run and skips the rows that are there, so it can be stopped and started again.
"""

import argparse
import csv
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import torch
from torch import nn

from deploy.train.config import FinetuneConfig
from deploy.train.finetune import finetune
from deploy.train.hardware import pick_precision
from deploy.train.recipe import NO_AUGMENT
from deploy.train.score import score_split
from deploy.train.teacher import Teacher
from nuwa.arch import Arch, BlockSpec
from nuwa.base import load_base
from nuwa.cost import count_macs
from nuwa.dataset import load_dataset
from nuwa.heads import restrict_head
from nuwa.task import make_task
from nuwa.tensors import SplitTensors, normalise, split_tensors, task_tensors
from nuwa.vit import PlainViT
from search.derive.deriver import Deriver

TASKS = {
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
}
"""Superclasses of CIFAR-100: classes that are told apart with effort."""
HALF_BLOCK = BlockSpec(num_heads=6, qk_dim=16, v_dim=16, mlp_width=256)
DROPPED_BLOCKS = (10, 11)


def half_arch(base: Arch) -> Arch:
    """Cut heads, MLPs and the last blocks to well under half of the MACs."""
    blocks = tuple(BlockSpec(0, 0, 0, 0) if i in DROPPED_BLOCKS else HALF_BLOCK for i in range(len(base.blocks)))
    return dataclasses.replace(base, blocks=blocks)


def measure_gain(options: argparse.Namespace) -> None:
    """Fine-tune one derived subnet per task with and without its teacher, for several seeds."""
    done = _rows(options.output)
    base = load_base()
    splits = load_dataset(options.data, label_column="fine_label")
    for name in options.tasks:
        task = make_task(splits, data=str(options.data), base_labels=base.label_names, classes=TASKS[name])
        tensors = task_tensors(task, base.preprocess)
        test = split_tensors(task.test, base.preprocess)
        teacher_model = restrict_head(base.model, task.base_classes or ())
        student = Deriver(teacher_model, tensors.train, base.preprocess).derive(half_arch(teacher_model.arch))
        teacher = Teacher(teacher_model)
        for seed in range(options.seeds):
            for is_distilled in (True, False):
                key = (name, str(seed), str(options.steps), str(is_distilled))
                if key in {(r["task"], r["seed"], r["steps"], r["distilled"]) for r in done}:
                    continue
                config = FinetuneConfig(
                    steps=options.steps,
                    eval_every=options.steps,
                    warmup_steps=min(FinetuneConfig.warmup_steps, options.steps // 5),
                    seed=seed,
                )
                result = finetune(
                    student,
                    teacher=teacher if is_distilled else None,
                    train=tensors.train,
                    search=tensors.search,
                    preprocess=base.preprocess,
                    config=config,
                )
                row = {
                    "task": name,
                    "seed": seed,
                    "steps": options.steps,
                    "distilled": is_distilled,
                    "macs": count_macs(student.arch),
                    "base_test_top1": score_split(teacher_model, test, base.preprocess).top1,
                    "derived_search_top1": result.before.top1,
                    "derived_test_top1": score_split(student, test, base.preprocess).top1,
                    "search_top1": result.after.top1,
                    "test_top1": score_split(result.student, test, base.preprocess).top1,
                    "seconds": round(result.seconds, 1),
                }
                _append(options.output, row)
                print(row, flush=True)
    _summarise(_rows(options.output))


def _summarise(rows: list[dict[str, str]]) -> None:
    for split in ("search_top1", "test_top1"):
        pairs: dict[tuple[str, str, str], dict[str, float]] = {}
        for row in rows:
            pairs.setdefault((row["task"], row["seed"], row["steps"]), {})[row["distilled"]] = float(row[split])
        gains = [100 * (p["True"] - p["False"]) for p in pairs.values() if len(p) == 2]
        if len(gains) > 1:
            print(f"{split}: distilling gains {mean(gains):+.2f} points, sd {stdev(gains):.2f}, n {len(gains)}")


def measure_speed(options: argparse.Namespace) -> None:
    """Compare images per CPU second of the engine and of a bare loop, in alternation."""
    base = load_base()
    model = restrict_head(base.model, tuple(range(5)))
    blocks = tuple(HALF_BLOCK if i < 10 else BlockSpec(0, 0, 0, 0) for i in range(12))
    student = PlainViT(dataclasses.replace(model.arch, blocks=blocks))
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (640, 3, 32, 32), generator=rng).to(torch.uint8)
    train = SplitTensors(images, torch.randint(0, 5, (640,), generator=rng))
    teacher = Teacher(model)
    kinds: dict[str, Callable[[], float]] = {
        "bare": lambda: _bare_speed(student, train, options.steps),
        "plain": lambda: _engine_speed(student, train, None, options.steps, plain=True),
        "augmented": lambda: _engine_speed(student, train, None, options.steps),
        "distilled": lambda: _engine_speed(student, train, teacher, options.steps),
    }
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(options.repeats + 1):
        for kind, measure in kinds.items():
            speed = measure()
            if repeat > 0:  # the first warms up, and fills the teacher's store
                speeds[kind].append(speed)
    for kind, values in speeds.items():
        ratios = [v / b for v, b in zip(values, speeds["bare"], strict=True)]
        row = {
            "loop": kind,
            "images_per_cpu_s": round(median(values), 2),
            "ratio_to_bare": round(median(ratios), 4),
            "ratio_low": round(min(ratios), 4),
            "ratio_high": round(max(ratios), 4),
            "repeats": options.repeats,
            "steps": options.steps,
            "threads": torch.get_num_threads(),
        }
        _append(options.output, row)
        print(row, flush=True)


def _bare_speed(student: PlainViT, train: SplitTensors, steps: int) -> float:
    model = PlainViT(student.arch)
    model.load_state_dict(student.state_dict())
    preprocess = load_base().preprocess
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    device = torch.device("cpu")
    precision = pick_precision("auto", device)
    begin = time.process_time()
    for step in range(steps):
        chosen = torch.arange(64) + 64 * (step % (len(train) // 64))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(normalise(train.images[chosen], preprocess))
        loss = loss_of(logits.float(), train.labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return steps * 64 / (time.process_time() - begin)


def _engine_speed(
    student: PlainViT, train: SplitTensors, teacher: Teacher | None, steps: int, *, plain: bool = False
) -> float:
    config = FinetuneConfig(steps=steps + 1, eval_every=steps + 1, accelerator="cpu", views=1)
    if plain:
        config = dataclasses.replace(config, augment=NO_AUGMENT, ema_decay=0.0)
    ticks: list[float] = []
    finetune(
        student,
        teacher=teacher,
        train=train,
        search=SplitTensors(train.images[:5], torch.arange(5)),
        preprocess=load_base().preprocess,
        config=config,
        progress=lambda report: ticks.append(time.process_time()) if report.losses else None,
    )
    return steps * 64 / (ticks[-1] - ticks[0])


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def _append(path: Path, row: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    """Read the arguments and run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    gain = kinds.add_parser("gain", help="distilled against not distilled")
    gain.add_argument("--data", type=Path, required=True, help="CIFAR-100 in Parquet, all classes")
    gain.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    gain.add_argument("--seeds", type=int, default=3)
    gain.add_argument("--steps", type=int, default=FinetuneConfig.steps)
    gain.add_argument("-o", "--output", type=Path, required=True)
    gain.set_defaults(run=measure_gain)
    speed = kinds.add_parser("speed", help="the engine against a bare loop")
    speed.add_argument("--steps", type=int, default=10)
    speed.add_argument("--repeats", type=int, default=5)
    speed.add_argument("-o", "--output", type=Path, required=True)
    speed.set_defaults(run=measure_speed)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
