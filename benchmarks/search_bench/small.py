"""The small-model baseline: a uniformly small ViT of equal latency, pretrained on all of the base's data."""

import functools
import math

from benchmarks.search_bench.methods import MethodResult
from benchmarks.search_bench.setting import BATCH_SIZE, DeviceSetting, Places, TaskSetting, open_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.task import make_task
from nuwa_search.core.tensors import SplitTensors, TaskTensors, task_tensors
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.small_model import pick_small_arch, pretrained_small
from nuwa_search.search.tuning import make_tune

WATCH_IMAGES = 1000
"""Search images that choose among the weights of a pretraining; all of them would cost more than its steps."""
EVALUATIONS = 2


@functools.cache
def _all_classes(places: Places) -> tuple[TaskTensors, Teacher]:
    base = open_base(places)
    task = make_task(
        load_dataset(str(places.data), label_column="fine_label").splits,
        data=places.data.name,
        base_labels=base.label_names,
        held_out=base.search_hashes,
    )
    tensors = task_tensors(task, base.preprocess)
    few: SplitTensors = spread_evenly(tensors.search, WATCH_IMAGES)
    bounded = TaskTensors(train=tensors.train, search=few, preprocess=base.preprocess)
    return bounded, Teacher(base.model, cache_dir=places.cache / "teacher")


def small_vit(
    places: Places, task: TaskSetting, device: DeviceSetting, budget_ms: float, *, steps: int
) -> MethodResult:
    """Pick the largest uniformly small ViT that the device measures within the budget, and pretrain it.

    It is pretrained once per shape, whatever task and seed, with the base as teacher.
    """
    base = open_base(places)
    arch = pick_small_arch(base.arch, fits=lambda small: device.measure(small) <= budget_ms)
    if arch is None:
        return MethodResult(None, None)
    tensors, teacher = _all_classes(places)
    views = math.ceil(steps * BATCH_SIZE / len(tensors.train))  # a fresh view of the data per epoch
    config = FinetuneConfig(
        steps=steps,
        batch_size=BATCH_SIZE,
        lr=1e-3,
        warmup_steps=50,
        views=views,
        eval_every=max(1, steps // EVALUATIONS),
    )
    model = pretrained_small(
        arch,
        pretrain=make_tune(teacher, tensors, config=config),
        steps=steps,
        cache=Cache(places.cache),
        identity=(base.base_id, places.data.name, str(config)),
    )
    restricted = restrict_head(model, task.classes)
    return MethodResult(restricted.arch, restricted)
