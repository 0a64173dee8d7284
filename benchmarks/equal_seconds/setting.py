"""A job ready to be searched: what every method shares, and is not charged for."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.real_size.jobs import JOBS, VEHICLES, Job
from benchmarks.real_size.opened import measured, open_inputs
from nuwa_search.core.arch import Arch
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.logits import logits_of
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.registry import open_device
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.feasible import Limits
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base

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


@dataclass(frozen=True)
class Setting:
    """One job, opened.

    Args:
        seed: Of the splits and of every choice.
        inputs: Images and the base with the task's head.
        deriver: Its statistics are made.
        predictor: Of latency; the budget is held against it.
    """

    job: Job
    seed: int
    inputs: Inputs
    deriver: Deriver
    scorer: TeacherScorer
    space: SearchSpace
    predictor: LatencyPredictor
    test: SplitTensors

    @property
    def teacher(self) -> PlainViT:
        """The base with the task's head."""
        return self.inputs.teacher.model

    @property
    def limits(self) -> Limits:
        """The budget, without room for noise."""
        return Limits(self.predictor, self.job.budget_ms)

    @functools.cached_property
    def base_logits(self) -> torch.Tensor:
        """Logits (B, C) of the base for the test images."""
        return self.test_logits(self.teacher)

    def test_logits(self, model: PlainViT) -> torch.Tensor:
        """Logits (B, C) of the images that no search has seen, in FP32."""
        return logits_of(model, self.test.images, self.inputs.base.preprocess)

    def measure(self, arch: Arch) -> float:
        """Median milliseconds of a net of this shape on the emulated device."""
        return measured(arch, self.inputs.device).latency_ms.median


@functools.lru_cache(maxsize=1)
def open_setting(name: str, *, shared: Path, cache_dir: Path, seed: int) -> Setting:
    """Open a job; head, statistics and latency predictor are read from the cache or made now."""
    job = TASKS[name]
    inputs = open_inputs(job, shared=shared, cache_dir=cache_dir, seed=seed)
    teacher, preprocess = inputs.teacher.model, inputs.base.preprocess
    deriver = Deriver(
        teacher,
        inputs.tensors.train,
        preprocess,
        options=options_for(teacher.arch),
        cache=Cache(cache_dir / "derive"),  # where whole searches with this cache folder keep them
    )
    deriver.prepare()
    return Setting(
        job=job,
        seed=seed,
        inputs=inputs,
        deriver=deriver,
        scorer=TeacherScorer(
            teacher, inputs.tensors.search, preprocess, seed=seed, known=inputs.tensors.known, metric=inputs.task.metric
        ),
        space=space_from_base(teacher.arch),
        predictor=predictor_for(inputs.device, teacher.arch, cache_dir=cache_dir),
        test=split_tensors(inputs.task.test, preprocess),
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
