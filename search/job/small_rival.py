"""The small-model alternative in a search: pretrained once, cached, ready to be tuned like the winner."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuwa_search.core.arch import Arch, hashed_from_arch
from nuwa_search.core.cache import Cache
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.pooling import pool_of
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import TaskTensors, task_tensors, without_pictures
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.recipe import of_length
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.device_budget import said_budgets
from nuwa_search.search.job.deadline import Deadline
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.run_cost import measure_run_cost
from nuwa_search.search.small_model import fresh_model, is_pretrained, pick_small_arch, pretrained_small
from nuwa_search.search.tuning import make_tune

PRETRAIN_LR = 1e-3
"""Peak learning rate from scratch, of DeiT for batches of 1024 (arXiv 2012.12877); also good at 64 with warm-up."""
PRETRAIN_WARMUP = 50
WATCH_IMAGES = 1000
"""Search images that choose among the weights of a pretraining; all of them would cost more than its steps."""
PROBE_IMAGES = 128
"""Images from which the time of a pretraining is foretold."""
PRETRAIN_SHARE = 0.5
"""Share of the time left that pretraining may take; where it needs more, the alternative is left out."""


@dataclass(frozen=True)
class SmallRival:
    """A pretrained small ViT with the task's head, not tuned.

    Args:
        arch: All blocks alike.
        model: Pretrained model.
        subnet_id: Identifies it in the database.
        derivation: How it was made.
    """

    arch: Arch
    model: PlainViT
    subnet_id: str
    derivation: dict[str, object]


def small_rival(finder: Finder, *, steps: int, cache_dir: Path) -> SmallRival | None:
    """Pretrain the largest uniformly small ViT that is measured within the budget, or read it from the cache.

    It learns from the base on all classes of the data, without the images that this task scores or tests on.

    Args:
        finder: Of the search.
        steps: Steps of pretraining.
        cache_dir: Keeps pretrained nets and the teacher's outputs.

    Returns:
        None where nothing so small fits, or the time does not allow it; why is said.
    """
    request, inputs = finder.request, finder.inputs
    task = _all_classes(request, inputs)
    tensors = task_tensors(task, inputs.base.preprocess)
    scored = without_pictures(tensors.train, inputs.tensors.hidden, "training data", "search or test split", [])
    tensors = dataclasses.replace(tensors, train=scored)
    headed = task_base(inputs.base, task, tensors, pool=pool_of(inputs.teacher.model.arch))
    teacher = Teacher(headed.model, cache_dir=cache_dir / "teacher")

    def fits(arch: Arch) -> bool:
        restricted = dataclasses.replace(arch, num_classes=inputs.task.num_classes)
        return finder.fits(finder.measure(fresh_model(restricted, seed=0)), has_room=True)

    arch = pick_small_arch(teacher.model.arch, fits=fits)
    if arch is None:
        finder.hooks.step(f"no uniformly small ViT meets {said_budgets(request.device_budgets)}")
        return None
    config = pretrain_config(steps=steps, num_train=len(tensors.train), seed=request.seed)
    cache = Cache(cache_dir / "small")
    identity = (inputs.base.base_id, task.task_id, str(dataclasses.asdict(config)))
    is_there = is_pretrained(arch, steps=steps, cache=cache, identity=identity, seed=request.seed)
    fresh = fresh_model(arch, seed=request.seed)
    if not is_there and not _is_affordable(
        fresh, config=config, teacher=teacher, tensors=tensors, deadline=finder.deadline
    ):
        finder.hooks.step(f"the time does not allow {steps} pretraining steps of a small ViT: it is left out")
        return None
    verb = "pretrained before" if is_there else "pretraining"
    finder.hooks.step(
        f"small alternative: {arch.depth} blocks of width {arch.embed_dim}; {verb}, {steps} steps on "
        f"{len(tensors.train)} images of {task.num_classes} classes"
    )
    pretrain = make_tune(teacher, tensors, config=config)
    whole = pretrained_small(arch, pretrain=pretrain, steps=steps, cache=cache, identity=identity, seed=request.seed)
    places = tuple(task.class_names.index(name) for name in inputs.task.class_names)
    model = restrict_head(whole, places)
    derivation: dict[str, object] = {"origin": "small-model", "pretrain_steps": steps, "seed": request.seed}
    return SmallRival(model.arch, model, _identity(model.arch, inputs, derivation), derivation)


def pretrain_config(*, steps: int, num_train: int, seed: int) -> FinetuneConfig:
    """Choose the settings of pretraining: each pass over the data sees a view of its own."""
    defaults = FinetuneConfig(seed=seed, lr=PRETRAIN_LR, warmup_steps=PRETRAIN_WARMUP)
    views = math.ceil(steps * defaults.batch_size / max(1, num_train))
    return of_length(dataclasses.replace(defaults, views=views, eval_every=max(1, steps // 4)), steps)


def _all_classes(request: SearchRequest, inputs: Inputs) -> Task:
    """Open the data with all of its classes, without what this task is scored and tested on."""
    task = open_task(
        inputs.base,
        data=request.data,
        label_column=request.label_column,
        classes=None,
        seed=request.seed,
        split_rule=inputs.task.split_rule,
        metric=inputs.task.metric,
    )
    hidden = {*inputs.task.search.hashes, *inputs.task.test.hashes}
    kept = np.flatnonzero([h not in hidden for h in task.train.hashes])
    few = np.random.default_rng(request.seed).permutation(len(task.search))[:WATCH_IMAGES]
    return dataclasses.replace(task, train=task.train.take(kept), search=task.search.take(np.sort(few)))


def _is_affordable(
    small: PlainViT, *, config: FinetuneConfig, teacher: Teacher, tensors: TaskTensors, deadline: Deadline
) -> bool:
    """Estimate from a few images whether pretraining fits its share of the time left."""
    seconds = deadline.part(PRETRAIN_SHARE).left_s()
    if seconds is None:
        return True
    few = dataclasses.replace(
        tensors, train=spread_evenly(tensors.train, PROBE_IMAGES), search=spread_evenly(tensors.search, PROBE_IMAGES)
    )
    run = make_tune(Teacher(teacher.model), few, config=config)
    cost = measure_run_cost(lambda steps: run(small, steps))
    scaled = dataclasses.replace(cost, view_s=cost.view_s * len(tensors.train) / len(few.train))
    return scaled.of(config.steps, num_views=config.views) <= seconds


def _identity(arch: Arch, inputs: Inputs, derivation: dict[str, object]) -> str:
    parts = [str(sorted(hashed_from_arch(arch).items())), inputs.base.base_id, inputs.task.task_id, str(derivation)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
