"""Sub-models on several boards against one board alone, emulated Jetson Nanos: CIFAR-100, and the default base.

    python -m benchmarks.collaborate                4, 2 and 1 boards, one subnet, the base, a small ViT
    python -m benchmarks.collaborate --boards 4
    python -m benchmarks.collaborate --base vit_s14_focus    3, 2 and 1 boards; the textiles have three classes

Everything has one budget end to end, the same images and the same steps. A row that is in
``benchmarks/results/collaborate.csv`` is not made again, and searches and trainings that are in ``--work`` go on.
"""

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks.deploy_tables import append_row, has_row, origin
from benchmarks.old_tree import ROOT
from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.logits import logits_of
from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.collaborate.network import Network, with_local
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.predictors.collaboration.modes import ModeLatency
from nuwa_search.search.collaborate.assess import Assessed
from nuwa_search.search.collaborate.choose_modes import AssessedModes, assess
from nuwa_search.search.collaborate.decompose import (
    OpenedDecomposition,
    opened_decomposition,
    search_parts,
    search_rival,
)
from nuwa_search.search.collaborate.finish import finish
from nuwa_search.search.collaborate.gate import gate_of
from nuwa_search.search.collaborate.networks import network_of
from nuwa_search.search.collaborate.place_parts import place_parts
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import DecomposeRun
from nuwa_search.search.collaborate.score_rival import RIVAL
from nuwa_search.search.collaborate.searched import Searched, SearchedRival
from nuwa_search.search.collaborate.see_splits import see_splits
from nuwa_search.search.collaborate.seen import ImagesRight
from nuwa_search.search.collaborate.subtask import WATCH_IMAGES
from nuwa_search.search.collaborate.train_parts import begin_ensemble, distil_parts, train_config, train_together
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.find import exported
from nuwa_search.search.job.small_rival import pretrain_config
from nuwa_search.search.small_model import fresh_model, pick_small_arch
from nuwa_search.store.store import open_store

TABLE = ROOT / "benchmarks" / "results" / "collaborate.csv"
PER_CLASS = {"train": 40, "test": 20}
"""Images of each class, the first of each file: what two cores can train in an hour."""
AT_FIRST = ", coordinator on the first board"
NETWORKS = (
    *("1gbit,0.25ms", "100mbit,0.25ms", "10mbit,0.25ms"),
    *(f"{network}{AT_FIRST}" for network in ("1gbit,0.25ms", "100mbit,5ms", "10mbit,5ms")),
)
"""The first is what budgets are planned for; the sub-models found for it are predicted on the others too."""
ALONE = ("base on one board", "one subnet on one board", "small ViT on one board")
SEED = 0


@dataclasses.dataclass(frozen=True)
class Bench:
    """A base with its images, and what everybody is given alike.

    Args:
        base: Its name.
        img_size: Pixels a side; None for the base's own.
        budget_ms: End to end.
        steps: Of each sub-model, and of all together; the single subnet and the small ViT have as many.
        trials: Of each search.
        boards: Numbers of boards that are compared.
    """

    base: str
    img_size: int | None
    budget_ms: float
    steps: int
    trials: int
    boards: tuple[int, ...]


BENCHES = {
    "default": Bench("default", None, 6.0, steps=80, trials=4, boards=(4, 2, 1)),
    DEMO_BASE: Bench(DEMO_BASE, 112, 12.0, steps=20, trials=2, boards=(3, 2, 1)),
}
"""The small base with 100 classes; the default base with three, at half its image size: a quarter of the tokens is what
two cores search seven times within the hour. Each budget is about half of what the base takes."""


def main() -> None:
    """Make what rows are missing."""
    args = _arguments()
    bench, work = BENCHES[args.base], args.work if args.base == "default" else args.work / args.base
    data = _fewer_images(args.data, work / "data") if args.base == "default" else None
    work.mkdir(parents=True, exist_ok=True)
    with open_store(str(work / "nuwa.sqlite")) as store:

        def run_of(num_boards: int, name: str) -> DecomposeRun:
            request = DecomposeRequest(
                devices=("jetson-nano",) * num_boards,
                budget_ms=bench.budget_ms,
                base=bench.base,
                img_size=bench.img_size,
                data=None if data is None else str(data),
                network=NETWORKS[0],
                trials=bench.trials,
                finetune_steps=bench.steps,
                seed=SEED,
                output=str(work / f"boards-{name}"),
            )
            return DecomposeRun(request, store, f"bench-{name}", work / "cache", Hooks(step=_say))

        alone = run_of(1, "alone")
        if not all(_has(alone, name, "none") for name in ALONE):
            with opened_decomposition(alone) as opened:
                _alone(alone, opened)
        for num_boards in args.boards or bench.boards:
            run = run_of(num_boards, str(num_boards))
            if not all(_has(run, f"{num_boards} boards, fuse", network) for network in NETWORKS):
                with opened_decomposition(run) as opened:
                    _boards(run, opened, rival=search_rival(alone, opened))
    print(TABLE.read_text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=list(BENCHES), default="default")
    parser.add_argument("--boards", nargs="*", type=int, default=[], help="numbers of boards  [all of the base's]")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "cifar100")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench-collaborate")
    return parser.parse_args()


def _boards(run: DecomposeRun, opened: OpenedDecomposition, *, rival: SearchedRival) -> None:
    """Search, train and score as many boards as the request has; and their heads before any training together.

    Folders of the collaboration are written too, for the first of the networks and the last:
    ``benchmarks.collaborate_net`` runs them.
    """
    inputs, division, count = opened.inputs, opened.division, len(opened.division.slots)
    bundles, studies = search_parts(run, opened)
    students = [bundle.load_model() for bundle in bundles]
    parts = distil_parts(run, inputs, division, students)
    test = split_tensors(inputs.task.test, inputs.base.preprocess)
    ensemble = begin_ensemble(run, inputs, parts, searched=students)
    if count > 1:
        name = f"{count} boards, max-logit"
        _write_scores(run, name, NETWORKS[0], _by_max_logit(parts, division.groups, test, opened), latency=None)
    train_together(run, inputs, ensemble)
    placed = place_parts(run, inputs, division, ensemble, opened.devices)
    gate = gate_of(run, inputs, division, placed=placed, rival=rival, devices=opened.devices)
    seen = see_splits(ensemble, inputs, test, gate=gate)
    for network in NETWORKS:
        here = dataclasses.replace(division, network=_network(network, [board.name for board in division.boards]))
        found = assess(run, inputs, here, ensemble, placed=placed, seen=seen, gate=gate)
        _say_difference(found, network)
        for mode in found.modes:
            name = f"{count} boards, {mode.figures.mode}"
            num_bytes = mode.figures.bytes_per_image
            _write_scores(run, name, network, _is_right(mode), latency=mode.latency, num_bytes=num_bytes)
    shutil.copytree(rival.bundle.dir, run.folder / RIVAL, dirs_exist_ok=True)
    searched = Searched(bundles, studies, rival)
    names = [board.name for board in division.boards]
    at_first = dataclasses.replace(division, network=_network(NETWORKS[-1], names))
    for one, folder in ((division, run.folder), (at_first, run.folder.with_name(f"{run.folder.name}-first"))):
        written = dataclasses.replace(run, request=dataclasses.replace(run.request, output=str(folder)))
        told = finish(written, inputs, one, ensemble, placed=placed, searched=searched, seen=seen, gate=gate)
        _say(f"{count} boards, {folder.name}: {told.verdict}")


def _network(name: str, boards: Sequence[str]) -> Network:
    network = network_of(name.removesuffix(AT_FIRST), boards)
    return with_local(network, boards[:1]) if name.endswith(AT_FIRST) else network


def _say_difference(found: AssessedModes, network: str) -> None:
    """Say what routing gains against fusing all, image by image, and how many images the first answers alone."""
    modes = {mode.figures.mode: mode for mode in found.modes}
    if "route" not in modes:
        return
    route, fuse = modes["route"], modes["fuse"]
    differences = _is_right(route) - _is_right(fuse)
    low, high = bootstrap_interval(differences)
    alone = sum(step.share for step in route.figures.steps if len(step.rounds) == 1)
    _say(
        f"{network}: route from {'the single subnet' if route.figures.first == found.crew.gate else 'a sub-model'}, "
        f"{100 * alone:.0f} % of the search images alone, {route.latency.mean_ms:.2f} ms, fuse "
        f"{fuse.latency.mean_ms:.2f}; {100 * differences.mean():+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}); "
        f"search split {100 * route.accuracy_search:.2f} against {100 * fuse.accuracy_search:.2f} %"
    )


def _is_right(mode: Assessed) -> npt.NDArray[np.float64]:
    if not isinstance(mode.test, ImagesRight):
        raise SystemExit("this benchmark is of images that have classes")
    return mode.test.is_right.astype(np.float64)


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
        _write_scores(run, name, "none", _right(logits, test), latency=latency, num_bytes=0)

    base_row, subnet_row, small_row = ALONE
    if not _has(run, base_row, "none"):
        write(base_row, base)
    if not _has(run, subnet_row, "none"):
        write(subnet_row, search_rival(run, opened).bundle.load_model())
    if not _has(run, small_row, "none"):
        write(small_row, _small(run, opened))


def _small(run: DecomposeRun, opened: OpenedDecomposition) -> PlainViT:
    """Train the largest uniformly small ViT within the budget from nothing, for as many steps as a sub-model sees."""
    inputs, device = opened.inputs, opened.devices["jetson-nano"]
    base, steps = inputs.teacher.model, 2 * train_config(run, inputs).steps

    def fits(arch: object) -> bool:
        model = fresh_model(arch, seed=SEED)  # type: ignore[arg-type]
        return (
            device.measure(exported(model, device.spec), protocol=PROTOCOL).latency_ms.median <= run.request.budget_ms
        )

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


def _key(run: DecomposeRun, name: str, network: str) -> dict[str, object]:
    return {"base": run.request.base, "method": name, "network": network, "budget_ms": run.request.budget_ms}


def _has(run: DecomposeRun, name: str, network: str) -> bool:
    return has_row(TABLE, _key(run, name, network))


def _write_scores(
    run: DecomposeRun,
    name: str,
    network: str,
    right: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    *,
    latency: ModeLatency | None,
    num_bytes: float | None = None,
) -> None:
    if _has(run, name, network):
        return
    top1, count = float(right.mean()), len(right)
    low, high = wilson_interval(round(top1 * count), count)
    row = {
        **_key(run, name, network),
        "top1": round(top1, 4),
        "top1_low": round(low, 4),
        "top1_high": round(high, 4),
        "num_images": count,
        "p50_ms": None if latency is None else round(latency.p50_ms, 3),
        "p95_ms": None if latency is None else round(latency.p95_ms, 3),
        "mean_ms": None if latency is None else round(latency.mean_ms, 3),
        "images_per_s": None if latency is None else round(latency.images_per_s, 1),
        "bytes_per_image": None if num_bytes is None else round(num_bytes),
        "steps": 2 * (run.request.finetune_steps or 0),
        "trials": run.request.trials,
    }
    protocol = f"test split, first {PER_CLASS['train']} and {PER_CLASS['test']} images of each class"
    if run.request.data is None:
        protocol = f"test split of the simulated textiles, {run.request.img_size} pixels"
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
