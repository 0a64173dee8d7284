"""The emulated device: noise, reproducibility, interval, and what it refuses."""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from nuwa_search.core.device import MeasureProtocol, Precision
from nuwa_search.core.emulator import device_label, split_label
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.latency.emulator.boards import BOARDS, JETSON_NANO, Fitted
from nuwa_search.latency.emulator.constants import load_calibration
from nuwa_search.latency.emulator.shapes import stripped_model
from nuwa_search.latency.emulator.timeline import emulate
from tests.support.onnx_graphs import GraphWriter, conv_model, qdq_model, vit_model

NANO = EMULATED_SPECS["jetson-nano"]
ORIN = EMULATED_SPECS["jetson-orin-nano"]


def test_every_spec_has_a_board_and_measures() -> None:
    assert {"jetson-nano", "jetson-nano-5w", "jetson-tx2", "jetson-orin-nano"} <= set(EMULATED_SPECS)
    for name, spec in EMULATED_SPECS.items():
        measured = EmulatedDevice(spec).measure(vit_model())
        assert (spec.name, spec.kind, measured.provenance) == (name, "emulated", "emulated")
        assert BOARDS[name].memory_mb == spec.memory_mb


def test_breakdown_adds_up_to_the_median() -> None:
    measured = EmulatedDevice(NANO, seed=3).measure(vit_model(depth=2))
    assert sum(k.ms for k in measured.breakdown) == pytest.approx(measured.latency_ms.median, rel=1e-9)


def test_statistics_are_in_order_and_calm() -> None:
    stats = EmulatedDevice(NANO).measure(vit_model(depth=2)).latency_ms
    ordered = (stats.min, stats.p50, stats.p90, stats.p95, stats.p99, stats.max)
    assert list(ordered) == sorted(ordered)
    assert stats.median == stats.p50
    assert 0 < stats.cv < 0.01


def test_same_seed_same_figures_in_any_order() -> None:
    models = [vit_model(depth=d) for d in (1, 2, 3)]
    one, other = EmulatedDevice(NANO, seed=5), EmulatedDevice(NANO, seed=5)
    forward = [one.measure(m) for m in models]
    backward = [other.measure(m) for m in reversed(models)][::-1]
    assert forward == backward
    assert one.measure(models[0]) == other.measure(models[0]) != forward[0]  # a repetition has noise of its own


def test_noise_has_the_stated_size() -> None:
    model = conv_model()
    truth = emulate(model, JETSON_NANO, precision="fp16").total_ms
    logs = np.log(
        [[EmulatedDevice.measure(d, model).latency_ms.median / truth for _ in range(6)] for d in _devices(150)]
    )
    within = float(np.sqrt(logs.var(axis=1, ddof=1).mean()))
    between = float(logs.mean(axis=1).var(ddof=1) - within**2 / 6) ** 0.5
    assert within == pytest.approx(0.005, rel=0.12)
    assert between == pytest.approx(0.005, rel=0.25)
    assert abs(float(logs.mean())) < 0.0015


def _devices(count: int) -> list[EmulatedDevice]:
    return [EmulatedDevice(NANO, seed=seed) for seed in range(count)]


def halfwidth(name: str, model: onnx.ModelProto) -> float:
    measured = EmulatedDevice(EMULATED_SPECS[name]).measure(model)
    assert measured.board_interval_ms is not None
    low, high = measured.board_interval_ms
    median = measured.latency_ms.median
    assert math.log(high / median) == pytest.approx(math.log(median / low))
    return math.log(high / median)


CONVNET = conv_model((64, 64), size=56, depth=4)
PLAIN_VIT = vit_model(heads=12, mlp_width=3072, depth=2)


@pytest.mark.parametrize(("name", "fit"), [("jetson-nano", "maxwell"), ("jetson-orin-nano", "ampere")])
def test_board_interval_of_known_kernels_is_the_left_out_error(name: str, fit: Fitted) -> None:
    assert halfwidth(name, CONVNET) == pytest.approx(load_calibration().fits[fit].log_halfwidth)


def test_board_interval_widens_by_what_extrapolations_were_off() -> None:
    fit = load_calibration().fits["maxwell"]
    assert halfwidth("jetson-nano", PLAIN_VIT) == pytest.approx(
        math.hypot(fit.log_halfwidth, fit.extrapolated["products"])
    )
    # its own rows hold plain ViTs: no extrapolation there
    assert halfwidth("jetson-orin-nano", PLAIN_VIT) == pytest.approx(load_calibration().fits["ampere"].log_halfwidth)


@pytest.mark.parametrize("name", ["jetson-tx2", "jetson-xavier-nx"])
def test_constants_of_another_architecture_widen_as_far_as_they_were_off(name: str) -> None:
    calibration = load_calibration()
    least = BOARDS[name].log_halfwidth
    assert least is not None
    assert least > calibration.fits["maxwell"].log_halfwidth
    assert halfwidth(name, CONVNET) == pytest.approx(least)
    assert halfwidth(name, PLAIN_VIT) == pytest.approx(math.hypot(least, calibration.carried["products"]))
    assert calibration.carried["products"] > calibration.fits["maxwell"].extrapolated["products"]


def test_transfers_are_added_when_asked_for() -> None:
    model = conv_model((3, 8), size=224)
    plain = EmulatedDevice(NANO).measure(model)
    copied = EmulatedDevice(NANO).measure(model, protocol=MeasureProtocol(transfers=True))
    assert [k.kind for k in copied.breakdown][-2:] == ["transfer", "transfer"]
    assert copied.breakdown[-2].ms == pytest.approx(0.06, abs=0.02)  # a 3x224x224 FP32 image
    assert copied.latency_ms.median > plain.latency_ms.median


def test_a_cuda_graph_takes_launches_away() -> None:
    model = vit_model(tokens=4, heads=1, head_dim=8, mlp_width=8, depth=4)
    plain = EmulatedDevice(NANO).measure(model).latency_ms.median
    replayed = EmulatedDevice(NANO).measure(model, protocol=MeasureProtocol(cuda_graph=True)).latency_ms.median
    assert replayed < plain / 2


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-nano-5w", "jetson-tx2"])
def test_int8_is_refused_with_the_reason(name: str) -> None:
    device = EmulatedDevice(dataclasses.replace(EMULATED_SPECS[name], precision="int8"))
    with pytest.raises(NuwaError, match="without native INT8"):
        device.measure(conv_model())


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2", "jetson-xavier-nx"])
def test_quantised_graphs_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(NuwaError, match="INT8"):
        EmulatedDevice(EMULATED_SPECS[name]).measure(qdq_model())


def test_a_quantised_graph_is_int8_where_the_board_has_it_and_says_so() -> None:
    plain = EmulatedDevice(ORIN).measure(qdq_model(is_quantised=False))
    found = EmulatedDevice(ORIN).measure(qdq_model())
    assert found.device == dataclasses.replace(ORIN, precision="int8")
    assert any("INT8" in warning for warning in found.warnings)
    assert 1.3 < plain.latency_ms.median / found.latency_ms.median < 2.0
    asked = EmulatedDevice(dataclasses.replace(ORIN, precision="int8")).measure(qdq_model())
    assert asked.latency_ms == found.latency_ms
    assert not any("INT8" in warning for warning in asked.warnings)


@pytest.mark.parametrize(("precision", "model"), [("int8", conv_model()), ("fp32", qdq_model())])
def test_a_precision_that_the_graph_does_not_have_is_refused(precision: Precision, model: onnx.ModelProto) -> None:
    with pytest.raises(NuwaError, match="QuantizeLinear"):
        EmulatedDevice(dataclasses.replace(ORIN, precision=precision)).measure(model)


def test_power_modes_of_one_board_follow_its_clocks() -> None:
    model = conv_model((512, 512), size=56, kernel=1, depth=4)
    modes = ("jetson-orin-nano-super", "jetson-orin-nano-25w", "jetson-orin-nano", "jetson-orin-nano-7w")
    ms = {name: emulate(model, BOARDS[name], precision="fp16").total_ms for name in modes}
    assert list(ms.values()) == sorted(ms.values())
    assert ms["jetson-orin-nano-7w"] / ms["jetson-orin-nano-super"] == pytest.approx(1020 / 408, rel=0.02)
    assert {EMULATED_SPECS[name].power_mode for name in modes} == {"7W", "15W", "25W", "MAXN_SUPER"}


def test_another_emulator_is_another_device() -> None:
    older = dataclasses.replace(NANO, options=())
    assert older.device_id != NANO.device_id
    assert (device_label(older), device_label(NANO)) == ("jetson-nano@emulator-1", "jetson-nano")
    assert split_label("jetson-nano@emulator-1") == ("jetson-nano", "1")
    with pytest.raises(NuwaError, match="another version of the emulator") as error:
        open_device(older)
    assert "nuwa profile jetson-nano" in error.value.hint
    with pytest.raises(NuwaError, match="another version of the emulator"):
        device_spec("jetson-nano@emulator-1")


def test_another_batch_is_refused() -> None:
    with pytest.raises(NuwaError, match="batch 1"):
        EmulatedDevice(NANO).measure(vit_model(batch=2))
    assert EmulatedDevice(dataclasses.replace(NANO, batch=2)).measure(vit_model(batch=2)).latency_ms.median > 0


def test_a_model_larger_than_the_memory_is_refused() -> None:
    model = stripped_model(conv_model((4, 8), size=8))
    model.graph.initializer[0].dims[:] = [50_000, 50_000]
    model.graph.initializer[0].ClearField("raw_data")
    w = GraphWriter((1, 50_000))
    w.nodes.append(helper.make_node("MatMul", ["x", model.graph.initializer[0].name], ["y"]))
    huge = w.model("y")
    huge.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(NuwaError, match="MB"):
        EmulatedDevice(NANO).measure(huge)


def test_newer_operators_are_refused_as_the_board_would() -> None:
    w = GraphWriter((1, 197, 64), opset=17)
    model = w.model(w.add("LayerNormalization", "x", w.weight(64), w.weight(64), axis=-1))
    with pytest.raises(NuwaError, match="takes up to opset 13"):
        EmulatedDevice(NANO).measure(model)
    assert not EmulatedDevice(NANO).measure(conv_model()).warnings


def test_plain_transformers_are_called_an_extrapolation() -> None:
    warnings = EmulatedDevice(NANO).measure(vit_model(heads=12, mlp_width=3072)).warnings
    assert any("extrapolation" in w for w in warnings)


def test_unknown_boards_are_answered_with_the_known_ones() -> None:
    with pytest.raises(NuwaError) as error:
        EmulatedDevice(dataclasses.replace(NANO, name="my-board")).measure(conv_model())
    assert "jetson-nano" in error.value.hint
    renamed = dataclasses.replace(NANO, name="my-board", options=(("board", "jetson-nano"),))
    assert EmulatedDevice(renamed).measure(conv_model()).latency_ms.median > 0


def test_weights_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vit_model(depth=12, heads=6, mlp_width=1536)
    light = stripped_model(model)
    assert light.ByteSize() < model.ByteSize() / 50
    sizes: list[int] = []
    to_array = onnx.numpy_helper.to_array

    def noted(tensor: onnx.TensorProto, *args: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = to_array(tensor, *args)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(onnx.numpy_helper, "to_array", noted)
    assert emulate(light, JETSON_NANO, precision="fp16") == emulate(model, JETSON_NANO, precision="fp16")
    assert max(sizes, default=0) < 1000  # shapes and axes; the smallest matrix has 150 000 numbers
