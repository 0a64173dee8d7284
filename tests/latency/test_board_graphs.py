"""Graphs of other people on emulated boards and on the host: refused as the board would, or run as they are."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.device import DeviceSpec, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.board_memory import SYSTEM_MB, board_need, check_room
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.devices.host import HostDevice
from nuwa_search.latency.devices.host_facts import host_spec

NANO = EMULATED_SPECS["jetson-nano"]
ON_8_5 = dataclasses.replace(NANO, runtime_version="8.5.2", opset=17)
SHORT = MeasureProtocol(warmup_ms=1, min_duration_ms=2, min_repetitions=3)
FLOAT = TensorProto.FLOAT


def make_model(
    *nodes: onnx.NodeProto,
    inputs: dict[str, tuple[int, list[int]]] | None = None,
    output: tuple[int, list[int]] = (FLOAT, [1, 8]),
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 13,
) -> onnx.ModelProto:
    given = inputs or {"x": (FLOAT, [1, 8])}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()],
        [helper.make_tensor_value_info("y", *output)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SQUARE = np.ones((8, 8), np.float32)
PLAIN = make_model(helper.make_node("MatMul", ["x", "w"], ["y"], "mm"), weights={"w": SQUARE})


def cast_first(kind: int) -> onnx.ModelProto:
    return make_model(
        helper.make_node("Cast", ["x"], ["f"], "c", to=FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"], "mm"),
        inputs={"x": (kind, [1, 8])},
        weights={"w": SQUARE},
    )


def weight_only_int8() -> onnx.ModelProto:
    return make_model(
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "dq"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "mm"),
        weights={"q": SQUARE.astype(np.int8), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)},
    )


def work_without_input() -> onnx.ModelProto:
    return make_model(
        helper.make_node("MatMul", ["a", "w"], ["b"], "loose"),
        helper.make_node("MatMul", ["x", "b"], ["y"], "mm"),
        weights={"a": SQUARE, "w": SQUARE},
    )


def gelu(opset: int) -> onnx.ModelProto:
    return make_model(helper.make_node("Gelu", ["x"], ["y"], "act"), opset=opset)


def folded_gelu() -> onnx.ModelProto:
    """An operator that the parser lacks, on constants: folding would have hidden it."""
    return make_model(
        helper.make_node("Mod", ["a", "w"], ["b"], "hidden"),
        helper.make_node("Add", ["x", "b"], ["y"], "sum"),
        weights={"a": SQUARE[:1], "w": SQUARE[:1]},
    )


@pytest.mark.parametrize(
    ("spec", "model", "said"),
    [
        (NANO, cast_first(TensorProto.UINT8), "input 'x' is UINT8: element type UINT8 is read since TensorRT 8.5"),
        (NANO, cast_first(TensorProto.DOUBLE), "input 'x' is DOUBLE"),
        (ON_8_5, cast_first(TensorProto.DOUBLE), "input 'x' is DOUBLE"),
        (NANO, cast_first(TensorProto.BFLOAT16), "input 'x' is BFLOAT16.*since TensorRT 9"),
        (ON_8_5, cast_first(TensorProto.BFLOAT16), "input 'x' is BFLOAT16.*since TensorRT 9"),
        (NANO, cast_first(TensorProto.UINT16), "input 'x' is UINT16: no TensorRT reads UINT16"),
        (NANO, weight_only_int8(), "packed in INT8"),
        (NANO, work_without_input(), "MatMul loose hangs on no input"),
        (NANO, make_model(helper.make_node("Identity", ["w"], ["y"]), weights={"w": SQUARE[:1]}), "output 'y' hangs"),
        (NANO, gelu(20), "takes up to opset 13"),
        (ON_8_5, gelu(24), "ONNX opset 24; the parser of TensorRT 8.5.2 takes up to opset 17"),
        (ON_8_5, gelu(17), r"no operator Gelu \(in the parser since 10.15\)"),
        (NANO, folded_gelu(), r"no operator Mod \(in the parser since 8.5\): hidden"),
    ],
)  # fmt: skip
def test_what_the_board_refuses_is_refused(spec: DeviceSpec, model: onnx.ModelProto, said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        EmulatedDevice(spec).measure(model)


def test_what_the_boards_own_release_takes_is_measured() -> None:
    for spec, model in ((NANO, PLAIN), (ON_8_5, PLAIN), (ON_8_5, cast_first(TensorProto.UINT8))):
        assert EmulatedDevice(spec).measure(model).latency_ms.median > 0
    model = make_model(helper.make_node("HardSwish", ["x"], ["y"]), opset=14)  # on the list of 8.5, not of 8.2
    assert EmulatedDevice(ON_8_5).measure(model).latency_ms.median > 0


def test_a_check_is_of_the_device_it_is_for() -> None:
    """One graph, measured on the release that takes it first: the other must still refuse it."""
    model = cast_first(TensorProto.UINT8)
    EmulatedDevice(ON_8_5).measure(model)
    with pytest.raises(NuwaError, match="UINT8"):
        EmulatedDevice(NANO).measure(model)


def packed_away(elements: int) -> onnx.ModelProto:
    """A product whose weights are named and sized, and lie nowhere."""
    model = make_model(helper.make_node("MatMul", ["x", "w"], ["y"], "mm"), output=(FLOAT, [1, elements // 8]))
    model.graph.initializer.append(onnx.TensorProto(name="w", dims=[8, elements // 8], data_type=FLOAT))
    return model


def test_room_is_for_engine_context_and_build_at_once() -> None:
    vgg19, vit_h = 143_667_240, 632_045_800  # the largest net timed on a real Nano, and one nobody has built there
    assert EmulatedDevice(NANO).measure(packed_away(vgg19)).latency_ms.median > 0
    with pytest.raises(NuwaError, match=r"engine \d+, CUDA context 850, building it \d+"):
        EmulatedDevice(NANO).measure(packed_away(vit_h))


def test_room_adds_up() -> None:
    need = board_need(2**20, activations=2**19, element_bytes=2, context_mb=100)
    assert (need.engine_mb, need.context_mb, need.build_mb) == (3.0, 100, 8.0)
    check_room(need, name="b", memory_mb=SYSTEM_MB + 111)
    with pytest.raises(NuwaError, match="111 MB"):
        check_room(need, name="b", memory_mb=SYSTEM_MB + 110.9)


def test_the_host_runs_graphs_of_any_inputs() -> None:
    two = make_model(helper.make_node("Add", ["x", "z"], ["y"]), inputs={"x": (FLOAT, [1, 8]), "z": (FLOAT, [1, 8])})
    double = make_model(
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        inputs={"x": (TensorProto.DOUBLE, [1, 8])},
        output=(TensorProto.DOUBLE, [1, 8]),
        weights={"w": SQUARE.astype(np.float64)},
    )
    indices = make_model(
        helper.make_node("Gather", ["w", "x"], ["y"]),
        inputs={"x": (TensorProto.INT64, [1])},
        weights={"w": SQUARE},
    )
    for model in (two, double, indices, cast_first(TensorProto.UINT8)):
        assert HostDevice(host_spec()).measure(model, protocol=SHORT).latency_ms.median > 0
    (warning,) = [w for w in HostDevice(host_spec()).measure(indices, protocol=SHORT).warnings if "zeros" in w]
    assert "input x" in warning


def test_an_fp16_graph_on_the_host_says_what_it_runs_in() -> None:
    half = make_model(
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        inputs={"x": (TensorProto.FLOAT16, [1, 8])},
        output=(TensorProto.FLOAT16, [1, 8]),
        weights={"w": SQUARE.astype(np.float16)},
    )
    found = HostDevice(host_spec()).measure(half, protocol=SHORT)
    assert any("FP32 between casts" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (cast_first(TensorProto.BFLOAT16), "input 'x' is tensor.bfloat16."),
        (cast_first(TensorProto.STRING), "input 'x' is tensor.string."),
        (make_model(helper.make_node("Relu", ["x"], ["y"]), inputs={"x": (FLOAT, [1, 0])}), "fixed sizes"),
        (make_model(helper.make_node("Relu", ["x"], ["y"]), inputs={"x": (FLOAT, [2, 8])}), "batch 1"),
        (make_model(helper.make_node("Nowhere", ["x"], ["y"])), "No Op registered for Nowhere"),
    ],
)
def test_what_the_host_cannot_run_is_refused_by_name(model: onnx.ModelProto, said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        HostDevice(host_spec()).measure(model, protocol=SHORT)
