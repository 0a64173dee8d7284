"""What all cells share: bases, tasks, devices with their predictors, libraries."""

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import ASSETS_DIR, Base, load_base
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.source_name import PACKAGED_BASE
from nuwa_search.core.task import make_task
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.train.score import score_split
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.job.tune import finetune_config
from nuwa_search.search.judge import Distilled
from nuwa_search.search.library import Library, LibraryRow, build_library, library_archs
from nuwa_search.search.scorer import SubnetScore, TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base
from nuwa_search.search.tuning import make_tune

CLASSES = {
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
}
"""Superclasses of CIFAR-100."""

BATCH_SIZE = 64

SCORED_IMAGES, FIRST_IMAGES = 256, 128
"""Of every kept cell; searches take fewer since."""


@dataclass(frozen=True)
class Places:
    """Where data, base and caches lie."""

    data: Path
    base: str
    cache: Path


@dataclass(frozen=True)
class TaskSetting:
    """One task, ready to search: ``library_seconds`` is what its library took when it was made."""

    name: str
    teacher: PlainViT
    tensors: TaskTensors
    test: SplitTensors
    deriver: Deriver
    scorer: TeacherScorer
    space: SearchSpace
    library: Library
    library_seconds: float
    classes: tuple[int, ...]
    base_folder: Path


@functools.cache
def open_base(places: Places) -> Base:
    """Load the base once."""
    return load_base(places.base)


@functools.cache
def open_task(places: Places, name: str) -> TaskSetting:
    """Open a task; its library is read from the cache or made now."""
    base = open_base(places)
    task = make_task(
        load_dataset(str(places.data), label_column="fine_label").splits,
        data=places.data.name,
        base_labels=base.label_names,
        classes=CLASSES[name],
        held_out=base.search_hashes,
    )
    tensors = task_tensors(task, base.preprocess)
    classes = task.base_classes or ()
    teacher = restrict_head(base.model, classes)
    cache = Cache(places.cache)
    deriver = Deriver(teacher, tensors.train, base.preprocess, cache=cache)
    scorer = TeacherScorer(teacher, tensors.search, base.preprocess, num_images=SCORED_IMAGES)
    scorer.num_first = FIRST_IMAGES
    space = space_from_base(teacher.arch)
    library, seconds = _library(
        space, deriver, scorer, teacher, cache, (base.base_id, task.task_id, deriver.options.canonical)
    )
    test = split_tensors(task.test, base.preprocess)
    folder = ASSETS_DIR / "base" if places.base == PACKAGED_BASE else Path(places.base)
    return TaskSetting(name, teacher, tensors, test, deriver, scorer, space, library, seconds, classes, folder)


def _library(
    space: SearchSpace,
    deriver: Deriver,
    scorer: TeacherScorer,
    teacher: PlainViT,
    cache: Cache,
    identity: tuple[str, ...],
) -> tuple[Library, float]:
    archs = library_archs(space)
    key = content_key("bench", *identity, len(scorer.inputs), *(arch.arch_id for arch in archs))
    found = cache.load("library", key)
    if found is None:
        begin = time.perf_counter()
        made = build_library(space, deriver=deriver, scorer=scorer, teacher=teacher)
        rows = [[r.score.kl, r.score.kl_first, r.score.top1, r.score.num_images] for r in made.rows]
        seconds = time.perf_counter() - begin
        found = {"scores": torch.tensor(rows, dtype=torch.float64), "seconds": torch.tensor([seconds])}
        cache.save("library", key, found)
    scores = [SubnetScore(s[0], s[1], s[2], int(s[3])) for s in found["scores"].tolist()]
    made_rows = tuple(LibraryRow(arch, score) for arch, score in zip(archs, scores, strict=True))
    return Library(space.base, made_rows), float(found["seconds"])


@dataclass(frozen=True)
class DeviceSetting:
    """A device with its fitted predictor and the base's measured latency."""

    spec: DeviceSpec
    predictor: LatencyPredictor
    base_ms: float

    def measure(self, arch: Arch) -> float:
        """Median latency in milliseconds of a net of this shape, as the device says."""
        return _measured_ms(self.spec, arch)


@functools.cache
def _measured_ms(spec: DeviceSpec, arch: Arch) -> float:
    model = onnx_from_arch(arch, opset=spec.opset, batch=spec.batch, has_weights=spec.kind != "emulated")
    return open_device(spec, seed=1).measure(model).latency_ms.median


@functools.cache
def open_bench_device(places: Places, name: str, num_classes: int) -> DeviceSetting:
    """Profile a device for subnets of the base with a head of ``num_classes``; a profile made before is read."""
    spec = device_spec(name)
    base = open_base(places)
    arch = restrict_head(base.model, tuple(range(num_classes))).arch
    path = places.cache / f"profile-{spec.device_id}-{arch.arch_id}.json"
    if not path.exists():
        found = profile(
            open_device(spec),
            arch,
            export=lambda a: onnx_from_arch(a, opset=spec.opset, batch=spec.batch, has_weights=spec.kind != "emulated"),
            reopen=lambda session: open_device(spec, seed=session + 1),
            settings=ProfileSettings(num_heldout=30),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.predictor.to_dict()))
    predictor = LatencyPredictor.from_dict(json.loads(path.read_text()))
    return DeviceSetting(spec, predictor, _measured_ms(spec, arch))


@functools.cache
def task_teacher(places: Places, name: str) -> Teacher:
    """Teacher of a task, its outputs shared by all students."""
    return Teacher(open_task(places, name).teacher, cache_dir=places.cache / "teacher")


def distil(places: Places, task: TaskSetting, model: PlainViT, *, steps: int, seed: int) -> Distilled:
    """Distil for so many steps of ``BATCH_SIZE`` images by the recipe that `nuwa-search` ships with."""
    config = finetune_config(
        steps=steps, epochs=None, num_train=len(task.tensors.train), seed=seed, has_fitted_head=False
    )
    return make_tune(task_teacher(places, task.name), task.tensors, config=config)(model, steps)


def test_top1(task: TaskSetting, model: PlainViT) -> float:
    """Top1 on the test split."""
    top1 = score_split(model, task.test, task.tensors.preprocess).top1
    if top1 is None:
        raise NuwaError(f"task {task.name} has no top1: its answers are not of whole images")
    return top1


def budget_of(device: DeviceSetting, share: float) -> float:
    """Share of the base's measured latency, in milliseconds."""
    return float(np.round(share * device.base_ms, 3))


def about_device(device: DeviceSetting) -> dict[str, str]:
    """What a latency must carry to mean anything."""
    spec = device.spec
    return {
        "runtime": f"{spec.runtime} {spec.runtime_version}",
        "precision": spec.precision,
        "provenance": spec.provenance,
    }
