"""What all ways of cutting a net for pixels share: the base with its tuned head, statistics, images and the device."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.equal_seconds.setting import predictor_for
from benchmarks.real_size.opened import DEVICE
from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.heads import pooled_by, with_head
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base


@dataclass(frozen=True)
class Searched:
    """What a search of ours came to: its answer's net, and how many it scored.

    Args:
        arch: Of its winner.
        num_scored: Nets that its study scored.
    """

    arch: Arch
    num_scored: int


@dataclass(frozen=True)
class Setting:
    """The magnetic tiles and the default base, opened once for every method and seed.

    Args:
        base: With its preprocessing for pixels.
        teacher: It with its tuned head; its outputs are kept for all students.
        deriver: Its statistics are made.
        searched: Our searches, by seed.
    """

    base: Base
    task: Task
    tensors: TaskTensors
    teacher: Teacher
    deriver: Deriver
    space: SearchSpace
    spec: DeviceSpec
    predictor: LatencyPredictor
    searched: dict[int, Searched]

    @cached_property
    def max_ms(self) -> float:
        """Emulated latency that no rival may exceed: the least of our winners', timed in the same session."""
        return min(self.measure(one.arch) for one in self.searched.values())

    @cached_property
    def test(self) -> SplitTensors:
        """Test split, decoded; nothing but the final count looks at it."""
        return split_tensors(self.task.test, self.base.preprocess)

    def scorer(self, seed: int) -> TeacherScorer:
        """The scorer of a search with this seed."""
        return TeacherScorer(
            self.teacher.model,
            self.tensors.search,
            self.base.preprocess,
            seed=seed,
            metric=self.task.metric,
            known=self.tensors.known,
        )

    def measure(self, arch: Arch) -> float:
        """Median milliseconds of a net of this shape on the emulated device."""
        model = onnx_from_arch(arch, opset=self.spec.opset, batch=self.spec.batch, has_weights=False)
        return open_device(self.spec, seed=1).measure(model).latency_ms.median


def open_setting(*, data: Path, work: Path, seeds: list[int]) -> Setting:
    """Open everything; head, statistics, latency predictor and teacher outputs are read from ``work`` or made.

    Args:
        data: Images with masks.
        work: Folder of ``benchmarks.segmentation``, with the answers of its searches.
        seeds: Of the searches. The images are divided in the same way for all of them.
    """
    cache = Cache(work / "cache")
    base = load_base(DEMO_BASE, cache_dir=work / "cache")
    task = open_task(base, data=str(data), label_column=None, classes=None, seed=seeds[0])
    base = base.for_task(task.kind)
    tensors = task_tensors(task, base.preprocess)
    model = _teacher_of(base, task, tensors, cache)
    deriver = Deriver(model, tensors.train, base.preprocess, options=options_for(model.arch), cache=cache)
    deriver.prepare()
    spec = device_spec(DEVICE)
    return Setting(
        base=base,
        task=task,
        tensors=tensors,
        teacher=Teacher(model, cache_dir=work / "cache" / "teacher"),
        deriver=deriver,
        space=space_from_base(model.arch),
        spec=spec,
        predictor=predictor_for(spec, model.arch, cache_dir=work / "cache"),
        searched={seed: _searched(work / f"seed{seed}.json") for seed in seeds},
    )


def _teacher_of(base: Base, task: Task, tensors: TaskTensors, cache: Cache) -> PlainViT:
    """Return the base with its tuned head, as a search begins with it; the head is kept."""

    def fit() -> dict[str, torch.Tensor]:
        head = task_base(base, task, tensors).model.head
        return {"weight": head.weight, "bias": head.bias}

    key = content_key(base.weights_id, tensors.train.content_hash, tensors.search.content_hash, repr(base.preprocess))
    found = cache.get("map-heads", key, fit)
    return with_head(pooled_by(base.model, "patches"), found["weight"], found["bias"])


def _searched(answer: Path) -> Searched:
    told: dict[str, Any] = json.loads(answer.read_text())
    return Searched(arch_from_dict(told["subnet"]["arch"]), told["trials"]["scored"])
