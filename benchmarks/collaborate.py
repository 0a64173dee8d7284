"""Sub-models on several boards against one board alone: all 100 classes of CIFAR-100, emulated Jetson Nanos.

    python -m benchmarks.collaborate                4, 2 and 1 boards, one subnet, the base, a small ViT
    python -m benchmarks.collaborate --boards 4

Everything has one budget end to end, the same images and the same steps. A row that is in
``benchmarks/results/collaborate.csv`` is not made again, and searches and trainings that are in ``--work`` go on.
"""

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks.deploy_tables import append_row, has_row, origin
from benchmarks.old_tree import ROOT
from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.tensors import SplitTensors, TaskTensors, logits_of, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.predictors.collaboration.modes import ModeLatency
from nuwa_search.search.collaborate.decompose import (
    OpenedDecomposition,
    opened_decomposition,
    search_parts,
    search_rival,
)
from nuwa_search.search.collaborate.finish import (
    RIVAL,
    Searched,
    SearchedRival,
    assess,
    finish,
    place_parts,
    see_splits,
)
from nuwa_search.search.collaborate.networks import network_of
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import DecomposeRun
from nuwa_search.search.collaborate.subtask import WATCH_IMAGES
from nuwa_search.search.collaborate.train_parts import begin_ensemble, distil_parts, train_config, train_together
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.find import exported
from nuwa_search.search.job.small_rival import pretrain_config
from nuwa_search.search.small_model import fresh_model, pick_small_arch
from nuwa_search.store.store import Store, open_store

TABLE = ROOT / "benchmarks" / "results" / "collaborate.csv"
PER_CLASS = {"train": 40, "test": 20}
"""Images of each class, the first of each file: what two cores can train in an hour."""
NETWORKS = ("1gbit,0.25ms", "100mbit,0.25ms", "10mbit,0.25ms")
"""The first is what budgets are planned for; the sub-models found for it are predicted on the others too."""
ALONE = ("base on one board", "one subnet on one board", "small ViT on one board")
STEPS, TRIALS, BUDGET_MS, SEED = 80, 4, 6.0, 0


def main() -> None:
    """Make what rows are missing."""
    args = _arguments()
    data = _fewer_images(args.data, args.work / "data")
    with open_store(str(args.work / "nuwa.sqlite")) as store:
        alone = _run(args, store, num_boards=1, name="alone", data=data)
        if not all(_has(name, "none") for name in ALONE):
            with opened_decomposition(alone) as opened:
                _alone(alone, opened)
        for num_boards in args.boards:
            run = _run(args, store, num_boards=num_boards, name=str(num_boards), data=data)
            if not all(_has(f"{num_boards} boards, fuse", network) for network in NETWORKS):
                with opened_decomposition(run) as opened:
                    _boards(run, opened, rival=search_rival(alone, opened))
    print(TABLE.read_text())


def _run(args: argparse.Namespace, store: Store, *, num_boards: int, name: str, data: Path) -> DecomposeRun:
    request = DecomposeRequest(
        devices=("jetson-nano",) * num_boards,
        budget_ms=BUDGET_MS,
        base="default",
        data=str(data),
        network=NETWORKS[0],
        trials=TRIALS,
        finetune_steps=STEPS,
        seed=SEED,
        output=str(args.work / f"boards-{name}"),
    )
    return DecomposeRun(request, store, f"bench-{name}", args.work / "cache", Hooks(step=_say))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", nargs="*", type=int, default=[4, 2, 1])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "cifar100")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench-collaborate")
    return parser.parse_args()


def _boards(run: DecomposeRun, opened: OpenedDecomposition, *, rival: SearchedRival) -> None:
    """Search, train and score as many boards as the request has; and their heads before any training together.

    The folder of the collaboration is written too: ``benchmarks.collaborate_net`` runs it.
    """
    started = time.perf_counter()
    inputs, division, count = opened.inputs, opened.division, len(opened.division.slots)
    bundles, studies = search_parts(run, opened)
    students = [bundle.load_model() for bundle in bundles]
    parts = distil_parts(run, inputs, division, students)
    test = split_tensors(inputs.task.test, inputs.base.preprocess)
    ensemble = begin_ensemble(run, inputs, parts, searched=students)
    if count > 1:
        name = f"{count} boards, max-logit"
        _write_scores(name, NETWORKS[0], _by_max_logit(parts, division.groups, test, opened), latency=None)
    train_together(run, inputs, ensemble)
    placed, seen = place_parts(run, inputs, division, ensemble, opened.devices), see_splits(ensemble, inputs, test)
    for network in NETWORKS:
        here = dataclasses.replace(division, network=network_of(network, [board.name for board in division.boards]))
        for mode in assess(run, inputs, here, ensemble, placed=placed, seen=seen).modes:
            name = f"{count} boards, {mode.figures.mode}"
            num_bytes = mode.figures.bytes_per_image
            _write_scores(name, network, np.asarray(mode.is_right), latency=mode.latency, num_bytes=num_bytes)
    shutil.copytree(rival.bundle.dir, run.folder / RIVAL, dirs_exist_ok=True)
    searched = Searched(bundles, studies, rival)
    found = finish(run, inputs, division, ensemble, placed=placed, searched=searched, started=started, seen=seen)
    _say(f"{count} boards: {found.verdict}")


def _by_max_logit(
    parts: Sequence[PlainViT],
    groups: Sequence[Sequence[int]],
    test: SplitTensors,
    opened: OpenedDecomposition,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Take the class of the largest log-probability that any head gives one of its own classes.

    Each head answers all classes; so the heads can be compared, which did better than raw logits.
    """
    answers = torch.empty(len(test), opened.inputs.task.num_classes)
    for part, group in zip(parts, groups, strict=True):
        logits = logits_of(part, test.images, opened.inputs.base.preprocess)
        answers[:, list(group)] = logits.log_softmax(dim=1)[:, list(group)]
    return _right(answers, test)


def _alone(run: DecomposeRun, opened: OpenedDecomposition) -> None:
    """Score what one board does alone: the base, one subnet, and a small ViT that was trained for as many steps."""
    inputs, test = opened.inputs, split_tensors(opened.inputs.task.test, opened.inputs.base.preprocess)
    device, base = opened.devices["jetson-nano"], inputs.teacher.model

    def write(name: str, model: PlainViT) -> None:
        ms = device.measure(exported(model, device.spec), protocol=PROTOCOL).latency_ms
        latency = ModeLatency(ms.median, ms.p95, ms.mean, 1000 / ms.median)
        logits = logits_of(model, test.images, inputs.base.preprocess)
        _write_scores(name, "none", _right(logits, test), latency=latency, num_bytes=0)

    base_row, subnet_row, small_row = ALONE
    if not _has(base_row, "none"):
        write(base_row, base)
    if not _has(subnet_row, "none"):
        write(subnet_row, search_rival(run, opened).bundle.load_model())
    if not _has(small_row, "none"):
        write(small_row, _small(run, opened))


def _small(run: DecomposeRun, opened: OpenedDecomposition) -> PlainViT:
    """Train the largest uniformly small ViT within the budget from nothing, for as many steps as a sub-model sees."""
    inputs, device = opened.inputs, opened.devices["jetson-nano"]
    base, steps = inputs.teacher.model, 2 * train_config(run, inputs).steps

    def fits(arch: object) -> bool:
        model = fresh_model(arch, seed=SEED)  # type: ignore[arg-type]
        return device.measure(exported(model, device.spec), protocol=PROTOCOL).latency_ms.median <= BUDGET_MS

    arch = pick_small_arch(base.arch, fits=fits)
    if arch is None:
        raise SystemExit("no uniformly small ViT fits")
    config = pretrain_config(steps=steps, num_train=len(inputs.tensors.train), seed=SEED)
    few = TaskTensors(
        inputs.tensors.train, spread_evenly(inputs.tensors.search, WATCH_IMAGES), inputs.tensors.preprocess
    )
    folder = run.work_dir / "small"
    student = fresh_model(arch, seed=SEED)
    return finetune(student, few, teacher=Teacher(base), config=config, checkpoint_dir=folder, resume=True).student


def _right(logits: Tensor, test: SplitTensors) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return (logits.argmax(dim=1) == test.labels).double().numpy()


def _key(name: str, network: str) -> dict[str, object]:
    return {"method": name, "network": network, "budget_ms": BUDGET_MS}


def _has(name: str, network: str) -> bool:
    return has_row(TABLE, _key(name, network))


def _write_scores(
    name: str,
    network: str,
    right: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    *,
    latency: ModeLatency | None,
    num_bytes: float | None = None,
) -> None:
    if _has(name, network):
        return
    top1, count = float(right.mean()), len(right)
    low, high = wilson_interval(round(top1 * count), count)
    row = {
        **_key(name, network),
        "top1": round(top1, 4),
        "top1_low": round(low, 4),
        "top1_high": round(high, 4),
        "num_images": count,
        "p50_ms": None if latency is None else round(latency.p50_ms, 3),
        "p95_ms": None if latency is None else round(latency.p95_ms, 3),
        "mean_ms": None if latency is None else round(latency.mean_ms, 3),
        "images_per_s": None if latency is None else round(latency.images_per_s, 1),
        "bytes_per_image": None if num_bytes is None else round(num_bytes),
        "steps": 2 * STEPS,
        "trials": TRIALS,
    }
    protocol = f"test split, first {PER_CLASS['train']} and {PER_CLASS['test']} images of each class"
    append_row(TABLE, row | origin(runtime="emulated jetson-nano", precision="fp16", seed=SEED, protocol=protocol))
    _say(f"{name}, {network}: {100 * top1:.1f} %")


def _fewer_images(source: Path, folder: Path) -> Path:
    """Write the first few images of each class, and their schema as it is."""
    for split, count in PER_CLASS.items():
        target = folder / f"{split}.parquet"
        if target.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(source / f"{split}.parquet")
        labels = table["fine_label"].to_numpy()
        kept = np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in np.unique(labels)]))
        pq.write_table(table.take(pa.array(kept)), target)
    return folder


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
