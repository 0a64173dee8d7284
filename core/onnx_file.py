"""An ONNX model from outside: sized, parsed, and looked over before any other program sees it.

Shape inference, ONNX Runtime and NumPy take what a model says about itself as given: sizes, types, lengths of weights.
So whatever contradicts itself, or is larger than any net, is refused here.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper
from onnx.external_data_helper import load_external_data_for_model

from nuwa_search.core.errors import NuwaError

MAX_MODEL_BYTES = 2**31 - 1
"""Of one file, where protobuf itself ends; larger weights lie in files beside it."""
MAX_NODES = 200_000
"""Operators of one model, inner graphs included; a ViT-g written out to single operators has some 5,000."""
MAX_DEPTH = 16
"""Graphs inside graphs (If, Loop, Scan); exporters write two or three."""
MAX_RANK = 16
"""Dimensions of one tensor; NumPy ends at 64, and nets have five or six."""
MAX_SIZE = 2**31 - 1
"""Of one dimension, and the magnitude of one whole number among the attributes of shapes: engines count in 32 bits."""
MAX_ELEMENTS = 2**36
"""Of one tensor, 256 GB in FP32; the widest published layer (arXiv 2302.05442) has 6e8 weights."""
MAX_RESULT = 2**31
"""Elements of one tensor that the graph computes, 8 GB in FP32; the attention of SAM's ViT-H takes an eighth."""
MAX_WEIGHT_BYTES = 16 * 10**9
"""Of all weights that lie in files beside a model; the widest open ViT, of 6 billion weights, has 12 GB in FP16."""

_AGAIN = "export it again, or copy the file again"
_T = TensorProto
_SMALL_BYTES = 8192
"""Of constants whose values inference reads: shapes and axes; texts and typed lists are short where they are read."""
INFERENCE_REFUSALS = (
    *(onnx.shape_inference.InferenceError, onnx.checker.ValidationError, onnx.defs.SchemaError),
    *(RuntimeError, ValueError, TypeError, IndexError, OverflowError),
)
"""What ONNX's checker and shape inference raise at a graph that is none."""
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_BITS: dict[int, int] = {
    **dict.fromkeys((_T.FLOAT, _T.INT32, _T.UINT32), 32),
    **dict.fromkeys((_T.DOUBLE, _T.INT64, _T.UINT64, _T.COMPLEX64), 64),
    **dict.fromkeys((_T.FLOAT16, _T.BFLOAT16, _T.INT16, _T.UINT16), 16),
    **dict.fromkeys((_T.INT8, _T.UINT8, _T.BOOL), 8),
    **dict.fromkeys((_T.FLOAT8E4M3FN, _T.FLOAT8E4M3FNUZ, _T.FLOAT8E5M2, _T.FLOAT8E5M2FNUZ), 8),
    **dict.fromkeys((_T.INT4, _T.UINT4), 4),
    _T.COMPLEX128: 128,
}
"""Bits of one element in ``raw_data``, where they are known here."""
_FIELD_OF: dict[int, str] = {
    **dict.fromkeys((_T.FLOAT, _T.COMPLEX64), "float_data"),
    **dict.fromkeys((_T.DOUBLE, _T.COMPLEX128), "double_data"),
    **dict.fromkeys((_T.UINT32, _T.UINT64), "uint64_data"),
    _T.INT64: "int64_data",
    _T.STRING: "string_data",
}
"""Where typed values lie (``onnx.proto``); everything else in ``int32_data``."""


_A = AttributeProto
_KIND_OF: dict[str, int] = {
    **{"f": _A.FLOAT, "i": _A.INT, "s": _A.STRING, "t": _A.TENSOR, "g": _A.GRAPH, "tp": _A.TYPE_PROTO},
    **{"floats": _A.FLOATS, "ints": _A.INTS, "strings": _A.STRINGS, "tensors": _A.TENSORS, "graphs": _A.GRAPHS},
    **{"sparse_tensor": _A.SPARSE_TENSOR, "sparse_tensors": _A.SPARSE_TENSORS, "type_protos": _A.TYPE_PROTOS},
}
"""Type of an attribute by the field that holds its value; zeros may be left out of a file."""


def parse_onnx(data: bytes, *, origin: str) -> ModelProto:
    """Parse a model and look it over; weights that lie in other files are not read.

    Args:
        data: The file.
        origin: What it is and where, for messages.

    Raises:
        NuwaError: If it is no ONNX model, contradicts itself, or is larger than any net.
    """
    if len(data) > MAX_MODEL_BYTES:
        raise damaged(origin, f"it has {len(data)} bytes, at most {MAX_MODEL_BYTES} are read")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise damaged(origin, str(error)) from error
    if not model.graph.output:
        raise damaged(origin, "it has no graph")
    require_sound(model, origin=origin)
    _require_bounded(model, origin=origin)
    return model


def read_onnx_bytes(path: Path) -> bytes:
    """Read a model's file, of bounded size.

    Raises:
        NuwaError: If it is missing, no file or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise damaged(str(path), f"it has {size} bytes, at most {MAX_MODEL_BYTES} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else None
        raise NuwaError(f"no ONNX model at {path}: {reason or error}", hint="`nuwa export DIR` writes one") from error


def load_weights_beside(model: ModelProto, path: Path) -> None:
    """Read weights that an exporter put into files of their own: as many bytes as their sizes say, no more.

    Args:
        model: Changed in place.
        path: Its file.

    Raises:
        NuwaError: If such a file is missing, too short or outside the model's folder.
    """
    apart = [tensor for tensor in _tensors(model) if tensor.data_location == _T.EXTERNAL]
    if not apart:
        return
    total = 0
    for tensor in apart:
        bits = _BITS.get(tensor.data_type)
        if bits is None:
            raise damaged(str(path), f"constant {tensor.name!r} lies in another file, in a type that none is read of")
        num_bytes = (math.prod(tensor.dims) * bits + 7) // 8
        total += num_bytes
        _set_length(tensor, num_bytes, path)
    if total > MAX_WEIGHT_BYTES:
        raise damaged(str(path), f"its weights take {total} bytes, at most {MAX_WEIGHT_BYTES} are read")
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise NuwaError(
            f"the weights of {path} lie in another file, which cannot be read: {error}",
            hint="copy the .data file beside the model, or export it in one file",
        ) from error
    require_sound(model, origin=str(path))


def _set_length(tensor: TensorProto, num_bytes: int, path: Path) -> None:
    told = next((entry for entry in tensor.external_data if entry.key == "length"), None)
    if told is None:
        told = tensor.external_data.add(key="length", value=str(num_bytes))
    if told.value != str(num_bytes):
        raise damaged(str(path), f"constant {tensor.name!r} takes {num_bytes} bytes, and says {told.value[:20]!r}")


def damaged(origin: str, reason: str) -> NuwaError:
    """Build the error for a model that cannot be read."""
    return NuwaError(f"{origin} cannot be read as ONNX: {reason}", hint=_AGAIN)


def require_sound(model: ModelProto, *, origin: str) -> None:
    """Refuse a model whose sizes, types, names or lengths of weights no net has, or that contradict each other.

    Raises:
        NuwaError: With the first such place.
    """
    try:
        _check_opsets(model)
        num_nodes = 0
        for function in model.functions:
            _require_text((function.name, function.domain, *function.input, *function.output), "a function")
        for graph, depth in _graphs(model):
            num_nodes += len(graph.node)
            if depth > MAX_DEPTH or num_nodes > MAX_NODES:
                raise _FaultError(f"it holds more than {MAX_NODES} operators, or graphs {MAX_DEPTH} deep")
            _check_graph(graph)
        for function in model.functions:
            for node in function.node:
                _check_node(node)
    except _FaultError as fault:
        raise damaged(origin, str(fault)) from fault


def _require_bounded(model: ModelProto, *, origin: str) -> None:
    """Refuse a graph of which one tensor is larger than any machine here holds, as far as sizes can be told.

    Raises:
        NuwaError: With the first such tensor.
    """
    for value in inferred_values(model):
        elements = 1
        for size in value.type.tensor_type.shape.dim:
            elements *= max(1, size.dim_value)  # open sizes count once
        if elements > MAX_RESULT:
            raise damaged(origin, f"tensor {value.name!r} has {elements} elements, at most {MAX_RESULT} are computed")


def inferred_values(model: ModelProto) -> list[ValueInfoProto]:
    """Size what ONNX's own inference can size, weights unread; nothing where it finds the graph contradicts itself."""
    light = ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= _SMALL_BYTES and tensor.data_location != _T.EXTERNAL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    try:
        found = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (*INFERENCE_REFUSALS, DecodeError):
        return [*model.graph.input]
    return [*found.input, *found.value_info, *found.output]


class _FaultError(Exception):
    """What is wrong with a model."""


def _check_opsets(model: ModelProto) -> None:
    for entry in model.opset_import:
        _require_text((entry.domain,), "a domain")
        if not 1 <= entry.version <= 1000:  # the newest of 2026 is 26
            raise _FaultError(f"it is of opset {entry.version}")


def _graphs(model: ModelProto) -> Iterator[tuple[GraphProto, int]]:
    """List the graph, and those inside its nodes, each with its depth."""
    waiting = [(model.graph, 0)]
    waiting += [(inner, 1) for function in model.functions for inner in _inner_graphs(function.node)]
    while waiting:
        graph, depth = waiting.pop()
        yield graph, depth
        waiting += [(inner, depth + 1) for inner in _inner_graphs(graph.node)]


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """List the constants of all graphs, those in attributes among them."""
    for graph, _ in _graphs(model):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _inner_graphs(nodes: Sequence[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _check_graph(graph: GraphProto) -> None:
    seen: set[str] = set()
    for tensor in graph.initializer:
        _check_tensor(tensor, f"constant {tensor.name!r}")
        seen.add(tensor.name)
    for sparse in graph.sparse_initializer:
        _check_tensor(sparse.values, "a sparse constant")
        _check_tensor(sparse.indices, "the places of a sparse constant")
        _check_dims(sparse.dims, "a sparse constant")
    for what, values in (("input", graph.input), ("output", graph.output), ("tensor", graph.value_info)):
        for value in values:
            _check_value(value, what)
    made = seen | {value.name for value in graph.input}
    for node in graph.node:
        _check_node(node)
        for name in filter(None, node.output):
            if name in made and name not in seen:  # a constant of the same name is what some quantisers leave
                raise _FaultError(f"tensor {name!r} is made twice")
            made.add(name)


def _check_node(node: NodeProto) -> None:
    _require_text((node.op_type, node.domain, node.name, *node.input, *node.output), "an operator")
    for attribute in node.attribute:
        _require_text((attribute.name,), f"{node.op_type} {node.name!r}")
        where = f"{attribute.name!r} of {node.op_type} {node.name!r}"
        if attribute.type not in AttributeProto.AttributeType.values():
            raise _FaultError(f"{where} is of no known type")
        kinds = {_KIND_OF[field.name] for field, _ in attribute.ListFields() if field.name in _KIND_OF}
        if kinds - {attribute.type}:
            raise _FaultError(f"{where} holds a value of another type than its own")
        for tensor in (*((attribute.t,) if attribute.HasField("t") else ()), *attribute.tensors):
            _check_tensor(tensor, where)


def _check_value(value: ValueInfoProto, what: str) -> None:
    _require_text((value.name,), f"an {what}")
    kind: TypeProto = value.type
    if kind.HasField("tensor_type"):
        _check_kind(kind.tensor_type.elem_type, f"{what} {value.name!r}")
        dims = [d.dim_value for d in kind.tensor_type.shape.dim if d.HasField("dim_value")]
        if len(kind.tensor_type.shape.dim) > MAX_RANK:
            raise _FaultError(f"{what} {value.name!r} has {len(kind.tensor_type.shape.dim)} dimensions")
        _check_dims([size for size in dims if size != -1], f"{what} {value.name!r}")  # some write -1 for an open one


def _check_kind(kind: int, where: str) -> None:
    if kind not in _T.DataType.values():
        raise _FaultError(f"{where} is of no known type ({kind})")


def _check_dims(dims: Sequence[int], where: str) -> int:
    """Return the number of elements."""
    if len(dims) > MAX_RANK:
        raise _FaultError(f"{where} has {len(dims)} dimensions")
    elements = 1
    for size in dims:
        if not 0 <= size <= MAX_SIZE:
            raise _FaultError(f"{where} has a side of {size}")
        elements *= size
    if elements > MAX_ELEMENTS:
        raise _FaultError(f"{where} has {elements} elements")
    return elements


def _check_tensor(tensor: TensorProto, where: str) -> None:
    _require_text((tensor.name,), where)
    _check_kind(tensor.data_type, where)
    elements = _check_dims(tensor.dims, where)
    if tensor.data_location == _T.EXTERNAL:
        for entry in tensor.external_data:
            _require_text((entry.key, entry.value), where)
        return
    counts = {name: len(getattr(tensor, name)) for name in _TYPED_FIELDS}
    told = sum(counts.values())
    if not told and not tensor.raw_data:
        return  # a shape alone, which is all that an emulated board asks for
    bits = _BITS.get(tensor.data_type)
    if tensor.data_type == _T.UNDEFINED or (tensor.raw_data and (told or tensor.data_type == _T.STRING)):
        raise _FaultError(f"{where} holds values in a way that its type has not")
    if bits is None and tensor.data_type != _T.STRING:
        return  # kinds of six bits and fewer, which no runtime here computes with
    if tensor.raw_data:
        found, wanted = len(tensor.raw_data), (elements * (bits or 8) + 7) // 8
    else:
        found = counts[_FIELD_OF.get(tensor.data_type, "int32_data")]
        parts = 2 if tensor.data_type in (_T.COMPLEX64, _T.COMPLEX128) else 1
        packed = 8 // bits if bits is not None and bits < 8 else 1
        wanted = -(-elements * parts // packed)
        if told != found:
            raise _FaultError(f"{where} holds values of another type than its own")
    if found != wanted:
        raise _FaultError(f"{where} of sides {list(tensor.dims)} needs {wanted} bytes or values, and holds {found}")


def _require_text(names: Sequence[object], where: str) -> None:
    for name in names:
        if not isinstance(name, str):  # protobuf gives bytes where they are no UTF-8
            raise _FaultError(f"{where} has a name that is no text")
