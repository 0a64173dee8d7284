"""What one search hands around, and how it measures."""

from dataclasses import dataclass

import onnx

from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.memory import MemoryEstimate
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.repair import Promises
from nuwa_search.search.request import SearchRequest
from nuwa_search.service.workflow.deadline import Deadline
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Finder:
    """Everything that one search hands around."""

    request: SearchRequest
    inputs: Inputs
    store: Store
    device: Device
    cache: Cache
    deriver: Deriver
    base_measurement: Measurement
    budget: Budget
    hooks: Hooks
    study_name: str
    storage_url: str | None
    deadline: Deadline

    def measure(self, model: PlainViT) -> Measurement:
        """Measure the exported graph of ``model`` on the device."""
        return self.device.measure(exported(model, self.inputs.device), protocol=PROTOCOL)

    def promises(self, latency: LatencyPredictor) -> Promises[LatencyPredictor]:
        """What a study starts from: the latency predictor, and what the base's measurement says of the rest.

        Raises:
            NuwaError: If memory is limited and the device does not tell it.
        """
        memory = None
        if self.budget.max_memory_mb is not None:
            peak_mb = self.base_measurement.peak_memory_mb
            if peak_mb is None:
                raise NuwaError(
                    f"device {self.inputs.device.name} does not tell its peak memory", hint="leave --max-memory-mb out"
                )
            memory = MemoryEstimate(self.inputs.teacher.model.arch, peak_mb, self.device.spec.precision)
        return Promises(latency, tail=self.budget.tail(self.base_measurement.latency_ms), memory=memory)


def exported(model: PlainViT, spec: DeviceSpec) -> onnx.ModelProto:
    """Export ``model`` as the device takes it."""
    return onnx_from_vit(model, opset=spec.opset, precision=graph_precision(spec), batch=spec.batch)
