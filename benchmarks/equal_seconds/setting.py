"""A job ready to be searched: what every method shares, and is not charged for."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.real_size.jobs import JOBS, Job
from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.logits import normalise
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import SplitTensors, split_tensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.feasible import Limits
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base

VEHICLES = ("bicycle", "bus", "motorcycle", "pickup_truck", "train")
CARNIVORES = ("bear", "leopard", "lion", "tiger", "wolf")
PEOPLE = ("baby", "boy", "girl", "man", "woman")
TASKS = {
    "textiles": JOBS["textiles"],
    "tiles": JOBS["tiles"],
    "vehicles": Job(DEMO_BASE, "cifar100", 30.0, VEHICLES),
    "small-vehicles": Job(PACKAGED_BASE, "cifar100", 5.5, VEHICLES),
    "small-carnivores": Job(PACKAGED_BASE, "cifar100", 5.5, CARNIVORES),
    "small-people": Job(PACKAGED_BASE, "cifar100", 5.5, PEOPLE),
}
"""Three tasks on each of two bases; images of CIFAR-100 are enlarged from 32 to 224 pixels for the larger one."""
DEVICE = "jetson-nano"


@dataclass(frozen=True)
class Setting:
    """One job, opened.

    Args:
        teacher: The base with the task's head.
        deriver: Its statistics are made.
        limits: The budget, held against a latency predictor that was profiled.
        spec: The emulated device.
    """

    job: Job
    teacher: PlainViT
    deriver: Deriver
    scorer: TeacherScorer
    space: SearchSpace
    limits: Limits
    test: SplitTensors
    spec: DeviceSpec

    def measure(self, arch: Arch) -> float:
        """Median milliseconds of a net of this shape on the emulated device."""
        model = onnx_from_arch(arch, opset=self.spec.opset, batch=self.spec.batch, has_weights=False)
        return open_device(self.spec, seed=1).measure(model).latency_ms.median


@functools.lru_cache(maxsize=1)
def open_setting(name: str, *, shared: Path, cache_dir: Path, seed: int) -> Setting:
    """Open a job; statistics and latency predictor are read from the cache or made now."""
    job = TASKS[name]
    base = load_base(job.base)
    task = open_task(base, data=job.data_in(shared), label_column=None, classes=job.classes, seed=seed)
    tensors = task_tensors(task, base.preprocess)
    teacher = task_base(base, task, tensors).model.eval()
    deriver = Deriver(
        teacher, tensors.train, base.preprocess, options=options_for(teacher.arch), cache=Cache(cache_dir)
    )
    deriver.prepare()
    spec = device_spec(DEVICE)
    return Setting(
        job=job,
        teacher=teacher,
        deriver=deriver,
        scorer=TeacherScorer(teacher, tensors.search, base.preprocess, seed=seed),
        space=space_from_base(teacher.arch),
        limits=Limits(predictor_for(spec, teacher.arch, cache_dir=cache_dir), job.budget_ms),
        test=split_tensors(task.test, base.preprocess),
        spec=spec,
    )


def predictor_for(spec: DeviceSpec, arch: Arch, *, cache_dir: Path) -> LatencyPredictor:
    """Profile an emulated device for nets cut out of ``arch``, unless that was done."""
    path = cache_dir / f"profile-{spec.device_id}-{arch.arch_id}.json"
    if not path.exists():
        found = profile(
            open_device(spec),
            arch,
            export=lambda one: onnx_from_arch(one, opset=spec.opset, batch=spec.batch, has_weights=False),
            reopen=lambda session: open_device(spec, seed=session + 1),
            settings=ProfileSettings(num_heldout=30),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.predictor.to_dict()))
    return LatencyPredictor.from_dict(json.loads(path.read_text()))


@torch.inference_mode()
def test_logits(setting: Setting, model: PlainViT) -> torch.Tensor:
    """Logits (B, C) of the images that no search has seen."""
    parts = torch.split(setting.test.images, 32)
    return torch.cat([model(normalise(part, setting.deriver.preprocess)).float() for part in parts])
