"""The operators that exported ViTs hold, computed by torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional as F

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.tasks.label_maps import upsampled

Attrs = Mapping[str, Any]
Op = Callable[[Sequence[Tensor], Attrs], Tensor | Sequence[Tensor]]

_INPUTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)
_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT32: torch.int32,
}


def _cast(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    return inputs[0].to(_TYPES[attrs["to"]])


def _conv(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    bias = inputs[2] if len(inputs) > 2 else None
    return F.conv2d(inputs[0], inputs[1], bias, stride=tuple(attrs["strides"]))


def _gemm(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    weight = inputs[1].T if attrs.get("transB", 0) else inputs[1]
    return torch.addmm(inputs[2], inputs[0], weight)


def _reduce_mean(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    axes = inputs[1].tolist() if len(inputs) > 1 else list(attrs["axes"])
    return inputs[0].mean(dim=axes, keepdim=bool(attrs.get("keepdims", 1)))


def _slice(inputs: Sequence[Tensor], _: Attrs) -> Tensor:
    x = inputs[0]
    for start, stop, axis in zip(*(t.tolist() for t in inputs[1:4]), strict=True):
        x = x.narrow(axis, start, min(stop, x.shape[axis]) - start)
    return x


def _split(inputs: Sequence[Tensor], attrs: Attrs) -> Sequence[Tensor]:
    return torch.split(inputs[0], inputs[1].tolist(), dim=attrs.get("axis", 0))


def _layer_norm(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    bias = inputs[2] if len(inputs) > 2 else None
    return F.layer_norm(inputs[0], inputs[1].shape, inputs[1], bias, eps=attrs["epsilon"])


def _resize(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    if attrs.get("mode") != b"linear" or attrs.get("coordinate_transformation_mode") != b"half_pixel":
        raise ValueError("only linear scaling between the centres of pixels is known")
    return upsampled(inputs[0], (int(inputs[3][2]), int(inputs[3][3])))


def _argmax(inputs: Sequence[Tensor], attrs: Attrs) -> Tensor:
    return inputs[0].argmax(dim=attrs.get("axis", 0), keepdim=bool(attrs.get("keepdims", 1)))


OPS: Mapping[str, Op] = {
    "Add": lambda i, _: i[0] + i[1],
    "ArgMax": _argmax,
    "Cast": _cast,
    "Concat": lambda i, a: torch.cat(list(i), dim=a["axis"]),
    "Conv": _conv,
    "Div": lambda i, _: i[0] / i[1],
    "Erf": lambda i, _: torch.erf(i[0]),
    "Gelu": lambda i, a: F.gelu(i[0], approximate=a.get("approximate", b"none").decode()),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda i, _: torch.matmul(i[0], i[1]),
    "Mul": lambda i, _: i[0] * i[1],
    "ReduceMean": _reduce_mean,
    "Resize": _resize,
    "Relu": lambda i, _: torch.relu(i[0]),
    "Reshape": lambda i, _: i[0].reshape(i[1].tolist()),
    "Sigmoid": lambda i, _: torch.sigmoid(i[0]),
    "Slice": _slice,
    "Softmax": lambda i, a: torch.softmax(i[0], dim=a.get("axis", -1)),
    "Split": _split,
    "Sqrt": lambda i, _: torch.sqrt(i[0]),
    "Sub": lambda i, _: i[0] - i[1],
    "Tanh": lambda i, _: torch.tanh(i[0]),
    "Transpose": lambda i, a: i[0].permute(*a["perm"]),
}


_NOTHING = torch.empty(0)
"""Stands for an input that a node leaves out."""


def run_node(node: onnx.NodeProto, values: dict[str, Tensor], attrs: Attrs, *, where: str) -> None:
    """Compute one operator and add its outputs to ``values``.

    Args:
        node: The operator, with the names of its inputs and outputs.
        values: Tensor by name, of whatever came before; the outputs are added.
        attrs: Attributes of the operator by name.
        where: Runtime or device, for the error message.

    Raises:
        NuwaError: If its inputs or attributes are none that exported ViTs have.
    """
    try:
        out = OPS[node.op_type]([values[name] if name else _NOTHING for name in node.input], attrs)
        values.update(zip(node.output, [out] if isinstance(out, Tensor) else out, strict=True))
    except torch.AcceleratorError:
        raise  # of the device, not of the graph
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NuwaError(
            f"{where} cannot run {node.op_type} {node.name!r} as this graph writes it: {said[:300]}",
            hint="measure it on --device host",
        ) from error


def output_of(graph: onnx.GraphProto, values: Mapping[str, Tensor], *, where: str) -> Tensor:
    """Return the graph's first output.

    Raises:
        NuwaError: If no operator gives it.
    """
    name = graph.output[0].name
    if name not in values:
        raise NuwaError(f"{where} cannot run the model: no operator gives its output {name!r}")
    return values[name]


def only_input(graph: onnx.GraphProto, *, where: str) -> onnx.ValueInfoProto:
    """Return the images that go in.

    Raises:
        NuwaError: If nothing or more goes in, or numbers that are neither floats nor bytes.
    """
    constants = {tensor.name for tensor in graph.initializer}
    given: list[onnx.ValueInfoProto] = [value for value in graph.input if value.name not in constants]
    if len(given) != 1:
        names = ", ".join(value.name for value in given[:6])
        raise NuwaError(
            f"the model has {len(given)} inputs ({names}), and {where} times graphs of one, of images",
            hint="measure it on --device host, which feeds any number of inputs",
        )
    kind = given[0].type.tensor_type.elem_type
    if kind not in _INPUTS:
        name = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
        raise NuwaError(
            f"input {given[0].name!r} of the model is {name}, and {where} takes "
            f"{', '.join(TensorProto.DataType.Name(known) for known in _INPUTS)}",
            hint="export it with FLOAT input, or measure it on --device host",
        )
    return given[0]
