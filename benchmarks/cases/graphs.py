"""ONNX graphs for a device: what the board itself would refuse, and what ONNX Runtime runs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases.frame import case, part, pick

FLOAT = TensorProto.FLOAT
WIDTH = 16


def graph_of(
    *nodes: onnx.NodeProto,
    kind: int = FLOAT,
    opset: int = 13,
    constants: tuple[onnx.TensorProto, ...] = (),
    inputs: tuple[str, ...] = ("x",),
) -> onnx.ModelProto:
    """Make a model from (1, 16) inputs to the output ``y``."""
    given = [helper.make_tensor_value_info(name, kind, [1, WIDTH]) for name in inputs]
    result = [helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph(list(nodes), "g", given, result, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weight(name: str, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((WIDTH, WIDTH), dtype=dtype), name)


def timed(model: onnx.ModelProto, board: str, **changes: Any) -> str:
    """Measure a graph on an emulated board."""
    specs = pick("EMULATED_SPECS", "latency.devices.emulated_specs")
    spec = dataclasses.replace(specs[board], **changes)
    found = part("latency.devices.emulated").EmulatedDevice(spec).measure(model)
    return f"{found.latency_ms.median:.3f} ms" + "".join(f" ({warning})" for warning in found.warnings[:1])


@case("graphs: UINT8 input on TensorRT 8.2", right="refused")
def bytes_in(folder: Path) -> str:
    nodes = [helper.make_node("Cast", ["x"], ["f"], "cast", to=FLOAT), helper.make_node("Relu", ["f"], ["y"], "act")]
    return timed(graph_of(*nodes, kind=TensorProto.UINT8), "jetson-nano")


@case("graphs: double input on TensorRT 8.2", right="refused")
def doubles_in(folder: Path) -> str:
    nodes = [helper.make_node("Cast", ["x"], ["f"], "cast", to=FLOAT), helper.make_node("Relu", ["f"], ["y"], "act")]
    return timed(graph_of(*nodes, kind=TensorProto.DOUBLE), "jetson-nano")


@case("graphs: weights alone in INT8 on an Orin Nano", right="refused")
def packed(folder: Path) -> str:
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], "unpack"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "head"),
    ]
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    return timed(graph_of(*nodes, constants=(weight("w8", np.int8), scale, zero)), "jetson-orin-nano")


@case("graphs: a product of two constants beside the net", right="refused")
def loose(folder: Path) -> str:
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["c"], "loose"),
        helper.make_node("MatMul", ["x", "c"], ["y"], "head"),
    ]
    return timed(graph_of(*nodes, constants=(weight("a"), weight("b"))), "jetson-nano")


@case("graphs: opset-24 Gelu on TensorRT 8.5", right="refused")
def new_gelu(folder: Path) -> str:
    model = graph_of(helper.make_node("Gelu", ["x"], ["y"], "act"), opset=24)
    return timed(model, "jetson-nano", runtime_version="8.5.2", opset=17)


@case("graphs: opset-17 LayerNormalization on TensorRT 8.2", right="refused")
def new_norm(folder: Path) -> str:
    ones = numpy_helper.from_array(np.ones(WIDTH, dtype=np.float32), "s")
    return timed(
        graph_of(helper.make_node("LayerNormalization", ["x", "s"], ["y"], "norm"), opset=17, constants=(ones,)),
        "jetson-nano",
    )


@case("graphs: weights of 8 GB on a Nano of 4 GB", right="refused")
def too_large(folder: Path) -> str:
    shape = TensorProto(name="w", dims=[WIDTH, 2**27], data_type=FLOAT)  # its shape alone, which is all that is read
    return timed(graph_of(helper.make_node("MatMul", ["x", "w"], ["y"], "head"), constants=(shape,)), "jetson-nano")


def on_host(model: onnx.ModelProto) -> str:
    protocol = part("core.device").MeasureProtocol(warmup_ms=1.0, min_duration_ms=5.0, min_repetitions=3)
    spec = part("latency.devices.host_facts").host_spec()
    found = part("latency.devices.host").HostDevice(spec).measure(model, protocol=protocol)
    return "measured" if found.latency_ms.median > 0 else "no latency"


@case("graphs: two inputs on host", right="measured")
def two_inputs(folder: Path) -> str:
    return on_host(graph_of(helper.make_node("Add", ["x", "z"], ["y"], "sum"), inputs=("x", "z")))


@case("graphs: double input on host", right="measured")
def host_doubles(folder: Path) -> str:
    return on_host(graph_of(helper.make_node("Cast", ["x"], ["y"], "cast", to=FLOAT), kind=TensorProto.DOUBLE))


@case("graphs: FP16 input on host", right="measured")
def host_halves(folder: Path) -> str:
    return on_host(graph_of(helper.make_node("Cast", ["x"], ["y"], "cast", to=FLOAT), kind=TensorProto.FLOAT16))


@case("graphs: two inputs for device cuda's graph, its operators on this CPU", right="refused")
def cuda_inputs(folder: Path) -> str:
    torch = __import__("torch")
    graph = pick("TorchGraph", "deploy.runtimes.torch_graph")
    model = graph_of(helper.make_node("Add", ["x", "z"], ["y"], "sum"), inputs=("x", "z"))
    for value in model.graph.input:
        value.type.tensor_type.shape.CopyFrom(
            helper.make_tensor_value_info("v", FLOAT, [1, 3, 2, 2]).type.tensor_type.shape
        )
    found = graph(model, dtype=torch.float32, device="cpu")
    found.run(np.zeros((1, 3, 2, 2), dtype=np.float32))
    return "the second input was left out"
