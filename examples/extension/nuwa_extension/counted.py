"""A kind of device that counts: its latency is the number of stored numbers over what it reads in a millisecond."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from nuwa_search.core.device import PROTOCOL, DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError

if TYPE_CHECKING:
    import onnx

NUMBERS_PER_MS = 1000.0


def device_specs() -> Sequence[DeviceSpec]:
    """List the one device of this kind."""
    return [DeviceSpec("counted", "counted", "formula", "1", "fp32", opset=17, note="stored numbers over their speed")]


def open_device(spec: DeviceSpec, *, seed: int) -> "CountedDevice":  # noqa: ARG001 - a formula draws nothing
    """Open it; there is nothing to connect to."""
    return CountedDevice(spec)


@dataclass(frozen=True)
class CountedDevice:
    """See ``nuwa_search.core.device.Device``."""

    spec: DeviceSpec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Count instead of timing."""
        batch = model.graph.input[0].type.tensor_type.shape.dim[0]
        if batch.dim_value != self.spec.batch:
            raise NuwaError(f"device {self.spec.name} takes a batch of {self.spec.batch}, found {batch.dim_value}")
        ms = sum(prod(tensor.dims) for tensor in model.graph.initializer) / NUMBERS_PER_MS
        return Measurement(
            device=self.spec,
            protocol=replace(protocol or PROTOCOL, transfers=True),
            provenance="measured",
            latency_ms=LatencyStats(ms, ms, ms, ms, ms, ms, ms, ms, 0.0),
            samples=1,
        )
