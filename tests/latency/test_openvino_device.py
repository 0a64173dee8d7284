"""OpenVINO on this CPU: the device contract, beside ``host``; skipped where it is not installed."""

import dataclasses
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import RunsModels
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.precision import spec_with_precision
from nuwa_search.latency.devices import host_facts
from nuwa_search.latency.devices.host import HostDevice
from nuwa_search.latency.devices.host_facts import host_spec, openvino_spec
from nuwa_search.latency.devices.registry import builtin_specs, device_spec, open_device

needs_openvino = pytest.mark.skipif(openvino_spec() is None, reason="OpenVINO is not installed (extra openvino)")
SHORT = MeasureProtocol(warmup_ms=1, min_duration_ms=5, min_repetitions=5)
TINY = Arch(blocks=(BlockSpec(1, 8, 8, 16),), embed_dim=16, num_classes=3, img_size=8, patch_size=4)


@pytest.fixture(scope="module")
def device() -> HostDevice:
    """One for the file: its reference model is compiled and timed once."""
    opened = open_device(device_spec("openvino"))
    assert isinstance(opened, HostDevice)
    return opened


def one_node(op: str, *, kind: int = TensorProto.FLOAT, shape: tuple[int | str, ...] = (1, 8)) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], "n")], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_where_it_is_not_installed_the_way_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts, "installed_version", lambda _: None)
    assert "openvino" not in builtin_specs()
    with pytest.raises(NuwaError) as caught:
        device_spec("openvino")
    assert "nuwa-search[openvino]" in caught.value.hint


@needs_openvino
class TestOpenVino:
    def test_its_identity_is_its_own_and_has_the_version(self) -> None:
        spec = device_spec("openvino")
        assert (spec.kind, spec.runtime, spec.provenance) == ("openvino", "openvino", "measured")
        assert spec.runtime_version[:4].isdigit()
        other = dataclasses.replace(spec, runtime_version="2025.0.0")
        assert len({spec.device_id, host_spec().device_id, other.device_id}) == 3

    @pytest.mark.parametrize("opset", [13, 17])
    def test_it_measures_and_computes_what_onnx_runtime_does(self, device: HostDevice, opset: int) -> None:
        model = onnx_from_arch(TINY, opset=opset)
        found = device.measure(model, protocol=SHORT)
        assert (found.provenance, found.samples >= 5) == ("measured", True)
        assert 0 < found.latency_ms.min <= found.latency_ms.median <= found.latency_ms.max
        assert float(found.state["reference_nominal_ms"]) > 0
        images = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
        assert isinstance(device, RunsModels)
        engine = device.compiled(model)
        assert engine.runtime == f"openvino {device.spec.runtime_version}"
        expected = HostDevice(host_spec()).compiled(model).run(images)
        assert engine.run(images) == pytest.approx(expected, abs=1e-5)
        with pytest.raises(NuwaError, match="float32 images"):
            engine.run(images.astype(np.float64))

    def test_one_thread_does_all_the_work_so_that_its_clock_sees_it(self, device: HostDevice) -> None:
        """With one thread the thread's own clock is read, which would stand still over the work of another."""
        engine = device.compiled(onnx_from_arch(dataclasses.replace(TINY, img_size=64), opset=17))
        images = np.zeros((1, 3, 64, 64), np.float32)
        before = time.thread_time(), time.process_time()
        for _ in range(20):
            engine.run(images)
        thread_s, process_s = time.thread_time() - before[0], time.process_time() - before[1]
        assert thread_s > 0.5 * process_s

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            (one_node("Nowhere"), "No conversion rule found for operations: Nowhere"),
            (one_node("Relu", kind=TensorProto.BFLOAT16), "input 'x' is tensor.bf16."),
            (one_node("Relu", shape=("free", 8)), "fixed sizes"),
            (one_node("Relu", shape=(2, 8)), "batch 1"),
        ],
    )
    def test_what_it_cannot_run_is_refused_by_name(self, device: HostDevice, model: onnx.ModelProto, said: str) -> None:
        with pytest.raises(NuwaError, match=said):
            device.measure(model, protocol=SHORT)

    def test_other_precisions_are_refused_with_the_reason(self) -> None:
        with pytest.raises(NuwaError, match="OpenVINO, asked for FP32 here, computes FP16 graphs in FP32"):
            spec_with_precision(device_spec("openvino"), "fp16")
