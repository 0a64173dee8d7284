"""What one search hands around, and how it measures."""

from dataclasses import dataclass

import onnx

from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.search.derive.deriver import Deriver
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


def exported(model: PlainViT, spec: DeviceSpec) -> onnx.ModelProto:
    """Export ``model`` as the device takes it."""
    return onnx_from_vit(model, GraphOptions(opset=spec.opset, precision=graph_precision(spec), batch=spec.batch))
