"""What a search starts from on its device: a latency predictor, the measured base, and the budget with its room."""

from dataclasses import dataclass

from nuwa_search.core.budget import Budget
from nuwa_search.core.device import PROTOCOL, Device, Measurement
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.search.request import SearchRequest
from nuwa_search.service.workflow.device_predictor import DevicePredictor, find_device_predictor
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs
from nuwa_search.store.records import Claim
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Survey:
    """The device as a search finds it.

    Args:
        start: Its latency predictor.
        base_measurement: Of the base with the task's head.
        budget: Of the request, with room for the noise that was found here.
    """

    start: DevicePredictor
    base_measurement: Measurement
    budget: Budget

    @property
    def budget_binds(self) -> bool:
        """Whether the base is slower than the budget."""
        return self.budget.check(self.base_measurement).exceeds("latency")


def survey_device(
    request: SearchRequest, inputs: Inputs, device: Device, *, store: Store, claim: Claim, hooks: Hooks
) -> Survey:
    """Profile what the predictor still lacks, measure the base, and pin the predictor to the search.

    A resumed search goes on with the predictor that it started from.
    """
    earlier_id = claim.previous.predictor_id if claim.previous else None
    start = find_device_predictor(
        store,
        inputs.device,
        inputs.base.arch,
        predictor_id=request.predictor_id or earlier_id,
        progress=hooks.count,
    )
    store.set_search_predictor(claim, start.predictor_id)
    budget = Budget(
        request.budget_ms, request.budget_statistic, max_memory_mb=request.max_memory_mb, relative_sd=start.relative_sd
    )
    survey = Survey(start, _measured_base(inputs, device, store=store), budget)
    _say(survey, hooks)
    return survey


def _measured_base(inputs: Inputs, device: Device, *, store: Store) -> Measurement:
    spec, model = inputs.device, inputs.teacher.model
    graph = onnx_from_vit(model, opset=spec.opset, precision=graph_precision(spec), batch=spec.batch)
    measurement = device.measure(graph, protocol=PROTOCOL)
    store.save_measurement(measurement, arch=model.arch)
    return measurement


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
