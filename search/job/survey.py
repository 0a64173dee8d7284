"""What a search starts from on its device: a latency predictor, the measured base, and the budget with its room."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import pooled_by, restrict_head, with_head
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.predictors.device_predictor import DevicePredictor, find_device_predictor
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.memory import MemoryEstimate
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.img_sizes import profiled_sizes
from nuwa_search.search.job.inputs import Sources
from nuwa_search.search.job.search_run import SearchStart
from nuwa_search.search.job.searched_sizes import wanted_sizes
from nuwa_search.search.repair import Promises
from nuwa_search.store.same_device import pinned_for

PREDICTOR_EVENT = "predictor"
"""Kind of the event that names a further device's predictor; the first device's is in the search's own row."""


@dataclass(frozen=True)
class Survey:
    """The device as a search finds it.

    Args:
        device: Open.
        start: Its latency predictor.
        base_measurement: Measurement of the base with the task's head.
        budget: Of the request, with room for the noise that was found here.
    """

    device: Device
    start: DevicePredictor
    base_measurement: Measurement
    budget: Budget

    @property
    def spec(self) -> DeviceSpec:
        """Spec of the device."""
        return self.start.spec

    @property
    def budget_binds(self) -> bool:
        """Whether the base is slower than the budget."""
        return self.budget.check(self.base_measurement).exceeds("latency")

    def promises(self, teacher: Arch) -> Promises[LatencyPredictor]:
        """What a study starts from: the latency predictor, and what the base's measurement says of the rest.

        Args:
            teacher: Shape of the base with the task's head.

        Raises:
            NuwaError: If memory is limited and the device does not tell it.
        """
        memory = None
        if self.budget.max_memory_mb is not None:
            peak_mb = self.base_measurement.peak_memory_mb
            if peak_mb is None:
                raise NuwaError(
                    f"device {self.start.spec.name} does not tell its peak memory", hint="leave --max-memory-mb out"
                )
            memory = MemoryEstimate(teacher, peak_mb, self.start.spec.precision)
        return Promises(self.start.predictor, tail=self.budget.tail(self.base_measurement.latency_ms), memory=memory)


def survey_devices(start: SearchStart, devices: Sequence[Device]) -> tuple[Survey, ...]:
    """Profile what each device's predictor still lacks, measure the base there, and pin the predictors to the search.

    Needs no image. A resumed search goes on with the predictors that it started from.

    Args:
        start: The search.
        devices: Open, in the order of the request's budgets.
    """
    request, claim = start.request, start.claim
    pinned = _pinned_predictors(start)
    sizes = wanted_sizes(start.request, start.sources)
    surveys: list[Survey] = []
    for device, spec, asked in zip(devices, start.sources.devices, request.device_budgets, strict=True):
        known = find_device_predictor(
            start.store,
            spec,
            start.sources.profiled_arch,
            predictor_id=pinned.get(spec.device_id),
            img_sizes=profiled_sizes(sizes),
            progress=start.hooks.count,
        )
        if not surveys:
            start.store.set_search_predictor(claim, known.predictor_id)
        elif spec.device_id not in pinned:
            told = {"device_id": spec.device_id, "predictor_id": known.predictor_id}
            start.store.add_event(claim.study, PREDICTOR_EVENT, told)
        budget = Budget(
            asked.budget_ms,
            request.budget_statistic,
            max_memory_mb=request.max_memory_mb,
            relative_sd=known.relative_sd,
        )
        base_measurement = _measured(headed_like_teacher(start.sources), start, device, budget)
        surveys.append(Survey(device, known, base_measurement, budget))
        _say(surveys[-1], start.hooks)
    return tuple(surveys)


def _pinned_predictors(start: SearchStart) -> dict[str, str]:
    """Find the predictor that each device is to be predicted by: the one asked for, else that of an earlier run."""
    claim, devices = start.claim, start.sources.devices
    pinned: dict[str, str] = {}
    if claim.previous is not None:
        if claim.previous.predictor_id is not None:
            pinned[devices[0].device_id] = claim.previous.predictor_id
        for event in start.store.events(claim.study) if len(devices) > 1 else ():
            if event.kind == PREDICTOR_EVENT:
                pinned[event.payload["device_id"]] = event.payload["predictor_id"]
    for spec in devices:
        asked = pinned_for(spec, start.request.predictor_id, devices=devices, store=start.store)
        if asked is not None:
            pinned[spec.device_id] = asked
    return pinned


def with_teacher(survey: Survey, start: SearchStart, teacher: PlainViT) -> Survey:
    """Measure the base once more where its head, now that it is fitted, reads the stream in another way."""
    if teacher.arch == start.sources.teacher_archs[0]:
        return survey
    return dataclasses.replace(survey, base_measurement=_measured(teacher, start, survey.device, survey.budget))


def headed_like_teacher(sources: Sources) -> PlainViT:
    """Give the base a head of the task's size: its own rows, or zeros, which take as long as fitted ones."""
    base, arch = sources.base.model, sources.teacher_archs[0]
    if sources.task.base_classes is not None:
        return restrict_head(base, sources.task.base_classes)
    pooled = base if arch.global_pool == base.arch.global_pool else pooled_by(base, arch.global_pool)
    return with_head(pooled, torch.zeros(arch.num_classes, arch.head_in_features), torch.zeros(arch.num_classes))


def _measured(model: PlainViT, start: SearchStart, device: Device, budget: Budget) -> Measurement:
    """Measure the base with the task's head; a search that is resumed knows it already, and adds no row."""
    spec = device.spec
    known = _known_measurement(model.arch, start, spec, budget)
    if known is not None:
        return known
    graph = onnx_from_vit(model, GraphOptions(opset=spec.opset, precision=graph_precision(spec), batch=spec.batch))
    measurement = device.measure(graph, protocol=PROTOCOL)
    start.store.save_measurement(measurement, arch=model.arch)
    return measurement


def _known_measurement(arch: Arch, start: SearchStart, spec: DeviceSpec, budget: Budget) -> Measurement | None:
    """Find what an earlier run of this search measured of the base; None for a new search."""
    previous = start.claim.previous
    if previous is None:
        return None
    for record in start.store.measurements(spec.device_id, arch_id=arch.compact().arch_id):
        is_profile = "role" in record.measurement.state  # repeats of a profile have their own use
        is_alike = dataclasses.replace(record.measurement.protocol, clocks_pinned=None) == PROTOCOL
        is_ours = record.subnet_id is None and record.created_at >= previous.created_at
        can_judge = budget.can_judge(record.measurement.latency_ms)
        if is_alike and is_ours and can_judge and not is_profile:
            return record.measurement
    return None


def _say(survey: Survey, hooks: Hooks) -> None:
    start, base = survey.start, survey.base_measurement
    if start.profiled is not None:
        done = start.profiled
        hooks.step(
            f"profiled {start.spec.name}: {done.rows_added} table rows, {done.models_measured} whole models, "
            f"error on {done.report.num_heldout} held-out models {100 * done.report.errors.mape:.1f} %"
        )
    rest = "" if survey.budget_binds else "; it meets the budget already, so the budget does not bind"
    hooks.step(f"base: {base.latency_ms.median:.2f} ms {base.provenance} on {start.spec.name}{rest}")
