"""A device over SSH on a stand-in board, whose pauses only count."""

import dataclasses
from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto, helper

from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.latency.devices.ssh import SshDevice
from nuwa_search.latency.devices.ssh_settings import SshSettings
from tests.support.ssh_board import SshBoard

BUILD, MEASURE, PROFILE = "--saveEngine", "--exportTimes", "--exportProfile"
PROTOCOL = MeasureProtocol(warmup_ms=100, min_duration_ms=1000, min_repetitions=20)
NANO = DeviceSpec(
    name="lab-nano",
    kind="ssh",
    runtime="tensorrt",
    runtime_version="8.2.1",
    precision="fp16",
    power_mode="MAXN",
    opset=13,
    compute_capability="5.3",
    memory_mb=3964,
)


def make_model(width: int = 64, *, op: str = "Relu", opset: int = 13) -> onnx.ModelProto:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [width, width], [0.5] * (width * width))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "m"), helper.make_node(op, ["h"], ["y"], "last")]
    shape = [1, width]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def expected_range_ms(model: onnx.ModelProto, *, fp16: bool = True) -> tuple[float, float]:
    """The stand-in's time: 0.4 ms and 1 (FP16) or 2 (FP32) ms per MiB, and up to 0.2 % of noise."""
    low = 0.4 + model.ByteSize() / 2**20 * (1 if fp16 else 2)
    return low, low * 1.002


class Rig:
    """A device on the board, with pauses that only count."""

    def __init__(self, board: SshBoard) -> None:
        self.board = board
        self.slept_s = 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        self.devices: list[SshDevice] = []

    def device(self, spec: DeviceSpec = NANO, **changes: Any) -> SshDevice:
        settings = SshSettings(sysroot=self.board.sysroot, reconnect_s=20, build_timeout_s=60)
        made = SshDevice(
            spec,
            self.board.transport(),
            settings=dataclasses.replace(settings, **changes),
            sleep=self.sleep,
        )
        self.devices.append(made)
        return made

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.on_sleep()

    def measure(self, model: onnx.ModelProto | None = None, **changes: Any) -> Measurement:
        return self.device(**changes).measure(model or make_model(), protocol=PROTOCOL)


def check_is_right(result: Measurement, model: onnx.ModelProto | None = None) -> None:
    low, high = expected_range_ms(model or make_model())
    assert low <= result.latency_ms.min <= result.latency_ms.median <= result.latency_ms.max <= high
    assert result.samples >= PROTOCOL.min_repetitions
