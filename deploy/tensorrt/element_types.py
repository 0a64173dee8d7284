"""Element types that TensorRT gives a network's tensors, by release.

Source: ``convertDtype`` and ``importInput`` of onnx-tensorrt, whose refusal reads "Unsupported ONNX data type: UINT8
(2)" (onnx/onnx-tensorrt issue 400), the data types line of its ``docs/operators.md``, and NVIDIA/TensorRT issue 1503:
UINT8 is taken at the ends of a network since 8.5. Doubles are cast down in constants only.
"""

from collections.abc import Iterator

import onnx

from nuwa_search.deploy.tensorrt.version import TrtVersion

_T = onnx.TensorProto
_ALWAYS = (_T.FLOAT, _T.FLOAT16, _T.INT8, _T.INT32, _T.INT64, _T.BOOL)
_SINCE: dict[int, tuple[int, int]] = {
    _T.UINT8: (8, 5),
    _T.BFLOAT16: (9, 0),
    _T.FLOAT8E4M3FN: (9, 0),
    _T.INT4: (10, 0),
}
_CONSTANTS_ONLY = (_T.DOUBLE, _T.UINT8)
"""What a constant may be in every release although no tensor of the network may: doubles are cast down, and shapes
and zero points are written in bytes by some exporters."""


def type_problems(model: onnx.ModelProto, version: TrtVersion) -> list[str]:
    """Name the element types that ``version`` does not take, and where they stand first."""
    found: dict[str, str] = {}
    for kind, where, is_constant in _typed(model):
        since = _SINCE.get(kind)
        if kind in _ALWAYS or (since is not None and version.release >= since) or kind == _T.UNDEFINED:
            continue
        if is_constant and kind in _CONSTANTS_ONLY:
            continue
        name = _type_name(kind)
        if kind == _T.DOUBLE:
            reason = "no TensorRT has DOUBLE tensors, only constants are cast down"
        elif since is None:
            reason = f"no TensorRT reads {name}"
        else:
            reason = f"element type {name} is read since TensorRT {'.'.join(map(str, since)).removesuffix('.0')}"
        found.setdefault(name, f"{where} is {name}: {reason}")
    return list(found.values())


def _typed(model: onnx.ModelProto) -> Iterator[tuple[int, str, bool]]:
    """List element types with the place of each, and whether it is a constant's."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    for what, values in (("input", graph.input), ("output", graph.output), ("tensor", graph.value_info)):
        for value in values:
            if value.name not in constants:
                yield value.type.tensor_type.elem_type, f"{what} {value.name!r}", False
    for tensor in graph.initializer:
        yield tensor.data_type, f"constant {tensor.name!r}", True
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                yield attribute.i, f"what Cast {node.name!r} makes", False
            elif node.op_type == "Constant" and attribute.name == "value":
                yield attribute.t.data_type, f"constant {node.name or node.output[0]!r}", True


def _type_name(kind: int) -> str:
    values = _T.DataType.values()
    return str(_T.DataType.Name(kind)) if kind in values else f"type {kind}"
