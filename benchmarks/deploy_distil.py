"""Distilled against not distilled at equal steps, and the engine's speed against a bare loop.

    python -m benchmarks.deploy_distil gain --data ../shared/data/cifar100 -o benchmarks/results/deploy_distil.csv
    python -m benchmarks.deploy_distil speed -o benchmarks/results/deploy_train_speed.csv

``gain`` adds one row per run and skips the rows that are there, so it can be stopped and started again.
"""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import torch
from torch import nn

from benchmarks.deploy_tables import append_row, has_row, origin, read_rows, write_rows
from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.base import load_base
from nuwa_search.core.cost import count_macs
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.logits import normalise
from nuwa_search.core.task import make_task
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.hardware import pick_precision
from nuwa_search.deploy.train.recipe import NO_AUGMENT, of_length
from nuwa_search.deploy.train.score import score_split
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.job.tune import finetune_config

TASKS = {
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
}
"""Superclasses of CIFAR-100: classes that are told apart with effort."""
HALF_BLOCK = BlockSpec(num_heads=6, qk_dim=16, v_dim=16, mlp_width=256)
DROPPED_BLOCKS = (10, 11)
LABELS, DISTILLED, MATCHED = "labels", "distilled", "matched"
RECIPES = {
    LABELS: "cross-entropy with smoothed labels, no teacher",
    DISTILLED: "the same with the teacher's logits: alpha 0.9, T 4; all else equal",
    MATCHED: "the teacher's function on mixed images, no labels: what nuwa finetune does",
}
"""The first two differ in nothing but the teacher."""


def half_arch(base: Arch) -> Arch:
    """Cut heads, MLPs and the last blocks to well under half of the MACs."""
    blocks = tuple(BlockSpec(0, 0, 0, 0) if i in DROPPED_BLOCKS else HALF_BLOCK for i in range(len(base.blocks)))
    return dataclasses.replace(base, blocks=blocks)


def measure_gain(options: argparse.Namespace) -> None:
    """Fine-tune one derived subnet per task by every recipe, for several seeds."""
    base = load_base()
    precision = pick_precision("auto", torch.device("cpu"))
    splits = load_dataset(options.data, label_column="fine_label").splits
    keys = [
        {"task": name, "seed": seed, "steps": options.steps, "recipe": recipe}
        for name in options.tasks
        for seed in range(options.seeds)
        for recipe in options.recipes
    ]
    missing = [key for key in keys if not has_row(options.output, key)]
    for name in dict.fromkeys(str(key["task"]) for key in missing):
        task = make_task(splits, data=str(options.data), base_labels=base.label_names, classes=TASKS[name])
        tensors = task_tensors(task, base.preprocess)
        test = split_tensors(task.test, base.preprocess)
        teacher_model = restrict_head(base.model, task.base_classes or ())
        student = Deriver(teacher_model, tensors.train, base.preprocess).derive(half_arch(teacher_model.arch))
        teacher = Teacher(teacher_model)
        for key in (one for one in missing if one["task"] == name):
            seed, recipe = int(str(key["seed"])), str(key["recipe"])
            result = finetune(
                student,
                tensors,
                teacher=None if recipe == LABELS else teacher,
                config=_config_of(recipe, steps=options.steps, seed=seed),
            )
            row = {
                **key,
                "macs": count_macs(student.arch),
                "base_test_top1": score_split(teacher_model, test, base.preprocess).top1,
                "derived_search_top1": result.before.top1,
                "derived_test_top1": score_split(student, test, base.preprocess).top1,
                "search_top1": result.after.top1,
                "test_top1": score_split(result.student, test, base.preprocess).top1,
                "seconds": round(result.seconds, 1),
            }
            told = origin(runtime="torch", precision=precision, seed=seed, protocol=RECIPES[recipe])
            append_row(options.output, row | told)
    _summarise(read_rows(options.output), options.output.with_name(f"{options.output.stem}_gain.csv"))


def _config_of(recipe: str, *, steps: int, seed: int) -> FinetuneConfig:
    if recipe == MATCHED:
        config = finetune_config(steps=steps, epochs=None, num_train=0, seed=seed, has_fitted_head=False)
    else:
        config = of_length(FinetuneConfig(seed=seed), steps)
    # one choice at the end and the same two views for all alike: the teacher looks at each view once
    return dataclasses.replace(config, eval_every=steps, views=2)


def _summarise(rows: list[dict[str, str]], path: Path) -> None:
    """Write mean and standard deviation of the paired gains over labels, over all tasks and task by task."""
    out: list[dict[str, object]] = []
    for recipe, split in itertools.product((DISTILLED, MATCHED), ("search_top1", "test_top1")):
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        for row in rows:
            found.setdefault((row["task"], row["seed"], row["steps"]), {})[row["recipe"]] = float(row[split])
        whole = {key: 100 * (p[recipe] - p[LABELS]) for key, p in found.items() if {recipe, LABELS} <= p.keys()}
        for task in ("all", *sorted({key[0] for key in whole})):
            gains = [gain for key, gain in whole.items() if task in ("all", key[0])]
            if len(gains) > 1:
                summary = {"mean_gain_points": round(mean(gains), 2), "sd_points": round(stdev(gains), 2)}
                out.append({"recipe": recipe, "task": task, "split": split, "pairs": len(gains), **summary})
                print(out[-1], flush=True)
    if out:
        write_rows(path, out)


def measure_speed(options: argparse.Namespace) -> None:
    """Compare images per CPU second of the engine and of a bare loop, in alternation."""
    if has_row(options.output, {"loop": "distilled"}):
        return
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
        append_row(options.output, row)


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
        TaskTensors(train, SplitTensors(train.images[:5], torch.arange(5)), load_base().preprocess),
        teacher=teacher,
        config=config,
        progress=lambda report: ticks.append(time.process_time()) if report.losses else None,
    )
    return steps * 64 / (ticks[-1] - ticks[0])


def main() -> None:
    """Read the arguments and run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    gain = kinds.add_parser("gain", help="distilled against not distilled")
    gain.add_argument("--data", type=Path, required=True, help="CIFAR-100 in Parquet, all classes")
    gain.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    gain.add_argument("--recipes", nargs="+", choices=RECIPES, default=[LABELS, DISTILLED])
    gain.add_argument("--seeds", type=int, default=3)
    gain.add_argument("--steps", type=int, default=100)
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
