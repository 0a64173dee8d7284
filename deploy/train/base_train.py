"""Train or fine-tune a base ViT on a data set and write it in timm's hub format."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from nuwa_search.core import checked
from nuwa_search.core.accelerator import pick_device
from nuwa_search.core.base import Base
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_timm import plain_from_timm
from nuwa_search.core.images import ImageSet, Preprocess
from nuwa_search.core.img_size import sides_of, size_words
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.suggest import unknown_name
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors
from nuwa_search.core.whole_folder import whole_folder
from nuwa_search.deploy.train.base_config import BaseDesign, BaseTrainConfig, ModelArgs
from nuwa_search.deploy.train.base_job import BaseJob
from nuwa_search.deploy.train.batches import plan_batches
from nuwa_search.deploy.train.engine import TrainSetup, run_job
from nuwa_search.deploy.train.hardware import pick_precision
from nuwa_search.deploy.train.held_out import hold_out, write_hashes
from nuwa_search.deploy.train.outcome import Progress, TrainOutcome
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.deploy.train.to_timm import timm_args, timm_from_plain

TIMED_STEPS = 20
"""Steps timed to fit a run into its minutes, after as many to warm up (compilation, caches)."""
TIMED_IMAGES = 16
"""Scored while timing, where scores do not matter."""
TIME_SHARE = 0.9
"""Of the minutes that the steps may take; evaluations and writing take the rest."""
MAX_STEPS = 10**9
"""Of one run: at a thousand steps a second, eleven days."""
PLAN_FILE = "plan.json"
"""Beside the checkpoint: the steps a time limit came to, which a resumed run must keep."""


@dataclass(frozen=True)
class BaseTrainResult:
    """A trained base.

    Args:
        folder: config.json, model.safetensors (FP16) and search_split.json: a ``--base``.
        search: Best weights on the held-out images.
        num_train: Images trained on.
        num_held_out: Images kept out.
        outcome: The run.
    """

    folder: Path
    search: SplitScore
    num_train: int
    num_held_out: int
    outcome: TrainOutcome


def train_base(
    start: BaseDesign | Base,
    images: ImageSet,
    *,
    folder: Path,
    preprocess: Preprocess,
    config: BaseTrainConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> BaseTrainResult:
    """Train a ViT on all classes of ``images`` and write it to ``folder``.

    Images are decoded once and stay on the accelerator as uint8; augmentation happens there.

    Args:
        start: A timm ViT, or a base of ours to go on from; a head over other classes is drawn anew.
        images: The training split; a share of each class is held out and recorded by hash.
        folder: Where the base is written, readable by ``nuwa_search.core.base.load_base``.
        preprocess: Of training and of the written base; ``img_size`` must be the model's.
        config: None for the defaults.
        progress: Called with where the run stands.
        checkpoint_dir: Where checkpoints go; None for none.
        resume: Go on from the checkpoint there.

    Raises:
        NuwaError: If the design is no supported ViT, or does not fit the images or the checkpoint.
    """
    settings = config or BaseTrainConfig()
    processes = join_processes()
    device = pick_device(settings.accelerator, local_rank=processes.local_rank)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        model, name, args = build_model(start, num_classes=len(images.label_names), drop_path=settings.drop_path)
        arch = plain_from_timm(model, name=name).arch  # refuses what could not be loaded as a base afterwards
        if arch.img_size != preprocess.img_size:
            raise NuwaError(
                f"the model takes {size_words(arch.img_size)} px images, the preprocessing makes "
                f"{size_words(preprocess.img_size)} px",
                hint="give img_size among the model's arguments",
            )
        model.to(device)
        split = hold_out(images, settings.held_out, seed=settings.seed)
        train, search = (_on_device(part, preprocess, device) for part in (split.train, split.search))
        data = TaskTensors(train, search, preprocess)
        setup = TrainSetup(
            plan=plan_batches(settings, num_images=len(split.train), processes=processes.count),
            device=device,
            precision=pick_precision(settings.precision, device),
            processes=processes,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            progress=progress,
            deadline_s=None if settings.minutes is None else settings.minutes * 60,
        )
        settings = _fit_into_minutes(model, data, settings, setup, len(images.label_names))
        job = BaseJob(model, data, len(images.label_names), settings, setup)
        outcome = run_job(job, settings, setup)
    model.load_state_dict(outcome.tensors)
    if processes.is_first:
        with whole_folder(folder) as fresh:
            write_base(model.cpu(), fresh, model_args=args, preprocess=preprocess, labels=images.label_names)
            write_hashes(fresh, split.hashes)
    return BaseTrainResult(folder, outcome.best.score, len(split.train), len(split.search), outcome)


def build_model(start: BaseDesign | Base, *, num_classes: int, drop_path: float) -> tuple[nn.Module, str, ModelArgs]:
    """Build the timm model to train; returns it with its timm name and arguments.

    Raises:
        NuwaError: If timm does not know the name, or the model is no supported ViT.
    """
    if isinstance(start, Base):
        model = timm_from_plain(start.model, drop_path=drop_path)
        if start.arch.num_classes != num_classes:
            model.reset_classifier(num_classes)  # type: ignore[operator] # timm's method on an nn.Module
        return model, "vit_tiny_patch16_224", timm_args(start.arch)
    if not timm.is_model(start.timm_name):
        raise unknown_name("base", start.timm_name, timm.list_models("*vit*"))
    args = dict(start.model_args)
    try:
        made: nn.Module = timm.create_model(
            start.timm_name, pretrained=start.pretrained, num_classes=num_classes, drop_path_rate=drop_path, **args
        )
    except (TypeError, AssertionError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise NuwaError(f"timm cannot build {start.timm_name} with {args}: {error}") from error
    return made, start.timm_name, args


def write_base(
    model: nn.Module,
    folder: Path,
    *,
    model_args: ModelArgs,
    preprocess: Preprocess,
    labels: tuple[str, ...],
) -> None:
    """Write a timm ViT in timm's hub format: FP16 weights and a config with label names.

    Args:
        model: timm's model; converted to FP16 in place.
        folder: Where the base goes.
        model_args: Arguments that make the model in timm, beside its name.
        preprocess: How its images are made.
        labels: One class name per output.
    """
    save_for_hf(
        model.half(),
        folder,
        model_config={"label_names": list(labels)},
        model_args=dict(model_args),
        safe_serialization=True,
        data_config={
            "input_size": (3, *sides_of(preprocess.img_size)),
            "mean": preprocess.mean,
            "std": preprocess.std,
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_pct,
            "crop_mode": preprocess.crop_mode,
        },
    )


def read_planned_steps(path: Path) -> int:
    """Read the steps that a time limit came to.

    Raises:
        NuwaError: If the file holds no such number.
    """
    hint = f"remove {path.parent} to start the run again"
    try:
        return checked.integer(read_object(path, what="plan of a run").get("steps"), "steps", low=1, high=MAX_STEPS)
    except NuwaError as error:
        raise NuwaError(f"plan of a run {path} cannot be read: {error.message}", hint=hint) from error


def _on_device(images: ImageSet, preprocess: Preprocess, device: torch.device) -> SplitTensors:
    return split_tensors(images, preprocess).to(device)


def _fit_into_minutes(
    model: nn.Module, data: TaskTensors, settings: BaseTrainConfig, setup: TrainSetup, num_classes: int
) -> BaseTrainConfig:
    if settings.minutes is None:
        return settings
    plan = None if setup.checkpoint_dir is None else setup.checkpoint_dir / PLAN_FILE
    if setup.resume and plan is not None and plan.exists():
        return dataclasses.replace(settings, steps=read_planned_steps(plan))
    before = {k: v.detach().clone() for k, v in model.state_dict().items()}
    seconds = []
    few = SplitTensors(data.search.images[:TIMED_IMAGES], data.search.labels[:TIMED_IMAGES])
    timed = TaskTensors(data.train, few, data.preprocess)
    for _ in range(2):  # the first warms up
        trial = dataclasses.replace(settings, steps=TIMED_STEPS, eval_every=TIMED_STEPS)
        bare = dataclasses.replace(setup, checkpoint_dir=None, resume=False, progress=None)
        job = BaseJob(model, timed, num_classes, trial, bare)
        outcome = run_job(job, trial, bare)
        seconds.append(outcome.seconds)
        model.load_state_dict(before)
    slowest = setup.processes.sum(torch.tensor(seconds[-1], device=setup.device)) / setup.processes.count
    fitting = int(settings.minutes * 60 * TIME_SHARE / (float(slowest) / TIMED_STEPS))
    steps = max(1, min(settings.steps, fitting))
    if plan is not None and setup.processes.is_first:
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text(json.dumps({"steps": steps}))
    return dataclasses.replace(settings, steps=steps)
