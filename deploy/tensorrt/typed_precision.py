"""Whether an ONNX graph carries the precision that an engine is asked for.

TensorRT 11 has strongly typed networks only: what computes in FP16 is what the ONNX types say. Before
that, FP16 is a builder flag over an FP32 graph, while INT8 already stands for Q/DQ nodes.
"""

import onnx

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.operators import iterate_nodes
from nuwa_search.deploy.tensorrt.version import trt_features, trt_version_from_text

# Operators whose weights decide what a ViT computes in.
_WEIGHTED = ("MatMul", "Gemm", "Conv")


def graph_precision(spec: DeviceSpec) -> Precision:
    """Return which element types a graph for the device is written in: FP16 only where nothing else asks for it."""
    if spec.runtime != "tensorrt" or spec.precision != "fp16":
        return "fp32"
    return "fp32" if trt_features(trt_version_from_text(spec.runtime_version)).has_precision_flags else "fp16"


def check_typed_precision(model: onnx.ModelProto, *, precision: Precision, version: str) -> None:
    """Refuse a graph whose types would give another precision than asked for, without a word.

    Args:
        model: The graph; the element types of its weights are read, not their values.
        precision: Precision of the device.
        version: TensorRT version such as ``11.4.0``.

    Raises:
        NuwaError: With what the graph holds instead.
    """
    is_quantized = any(node.op_type == "QuantizeLinear" for node in iterate_nodes(model.graph))
    if precision == "int8" and not is_quantized:
        raise NuwaError(
            "INT8 was asked for and the graph holds no QuantizeLinear node: TensorRT would make up the ranges",
            hint="quantise it first (nuwa export --precision int8), or ask for fp16",
        )
    if precision != "int8" and is_quantized:
        raise NuwaError(
            f"{precision} was asked for and the graph holds QuantizeLinear nodes, which compute in INT8",
            hint="export it again without quantisation, or ask for int8",
        )
    if precision == "int8":
        return
    needs_types = not trt_features(trt_version_from_text(version)).has_precision_flags
    halves = _weights_of_type(model, onnx.TensorProto.FLOAT16)
    if precision == "fp32" and halves:
        raise NuwaError(
            f"FP32 was asked for and {halves} weights of the graph are FP16",
            hint="export it again with --precision fp32",
        )
    floats = _weights_of_type(model, onnx.TensorProto.FLOAT)
    if precision == "fp16" and needs_types and floats:
        raise NuwaError(
            f"TensorRT {version} takes precision from the ONNX types alone, FP16 was asked for and {floats} weights "
            "of the graph are FP32",
            hint="export it again with --precision fp16, which writes FP16 types",
        )


def _weights_of_type(model: onnx.ModelProto, data_type: int) -> int:
    weights = {name for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input[1:2]}
    return sum(tensor.name in weights and tensor.data_type == data_type for tensor in model.graph.initializer)
