"""Static shapes of every tensor in an ONNX graph, found without touching large weights."""

import math
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.onnx_file import INFERENCE_REFUSALS

Shape = tuple[int, ...]

# Initializers up to this many elements keep their values: shapes, axes and scalars are read from them.
SMALL_TENSOR_ELEMENTS = 1024
# Operators whose answer is known once shapes are known: the engine builder folds them away.
SHAPE_READERS = frozenset({"Shape", "Size"})


# Operators that shape arithmetic is written in, none of which makes more of its inputs than a product of two.
_ARITHMETIC = frozenset(
    {
        *("Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "Constant", "CumSum", "Div", "Equal", "Floor"),
        *("Flatten", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less"),
        *("LessOrEqual", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pow"),
        *("Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round"),
        *("ScatterElements", "ScatterND", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "TopK"),
        *("Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
    }
)
# Those whose answer's size stands in their inputs' values.
_GROWING = frozenset({"ConstantOfShape", "Expand", "Range", "Tile"})


def is_small(tensor: TensorProto) -> bool:
    """Return whether the values of an initializer are at hand and worth reading."""
    if math.prod(tensor.dims) > SMALL_TENSOR_ELEMENTS or tensor.data_location == TensorProto.EXTERNAL:
        return False
    fields = (tensor.raw_data, tensor.int64_data, tensor.float_data, tensor.int32_data, tensor.double_data)
    return any(len(values) > 0 for values in fields) or math.prod(tensor.dims) == 0


def skeleton(model: ModelProto) -> ModelProto:
    """Copy nodes, inputs and outputs of ``model``; initializers and declared shapes stay behind."""
    out = ModelProto(ir_version=model.ir_version)
    out.opset_import.extend(model.opset_import)
    out.graph.name = model.graph.name
    out.graph.node.extend(model.graph.node)
    out.graph.input.extend(model.graph.input)
    out.graph.output.extend(model.graph.output)
    return out


def stripped_model(model: ModelProto) -> ModelProto:
    """Copy ``model`` without the values of large initializers; shapes and small values stay."""
    out = skeleton(model)
    for tensor in model.graph.initializer:
        shape_only = TensorProto(name=tensor.name, dims=list(tensor.dims), data_type=tensor.data_type)
        out.graph.initializer.append(tensor if is_small(tensor) else shape_only)
    return out


def infer_shapes(model: ModelProto) -> dict[str, Shape]:
    """Size every tensor that can be sized; the others are left out.

    ONNX's own inference does nearly all of it in one pass. Where a size hangs on folded shape
    arithmetic that it cannot follow, the constants are folded here and the rest is walked node by node.
    """
    light = skeleton(model)
    for output in light.graph.output:  # what a file says of them is not preferred to what its operators give
        output.type.tensor_type.ClearField("shape")
    declared = {i.name for i in model.graph.input}
    shapes: dict[str, Shape] = {}
    small: dict[str, TensorProto] = {}
    for tensor in model.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        if is_small(tensor):
            small[tensor.name] = tensor
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:  # takes part as an input, so that no bytes are copied
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    try:
        inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    except INFERENCE_REFUSALS as error:
        raise NuwaError(
            f"the sizes in the graph contradict each other: {_first_line(error)}", hint="export the model again"
        ) from error
    types: dict[str, TypeProto] = {}
    for source in (model.graph.output, model.graph.value_info, inferred.input, inferred.value_info, inferred.output):
        for info in source:
            types[info.name] = info.type
            shape = _static_shape(info.type)
            if shape is not None:
                shapes[info.name] = shape
    if any(name and name not in shapes for node in model.graph.node for name in node.output):
        try:
            _Folder(model, shapes=shapes, types=types, small=small).walk()
        except RecursionError as error:
            raise NuwaError(
                "sizes in the graph hang on a chain of hundreds of operators", hint="run onnxsim on the file first"
            ) from error
    return shapes


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _static_shape(tensor_type: TypeProto) -> Shape | None:
    if not (tensor_type.HasField("tensor_type") and tensor_type.tensor_type.HasField("shape")):
        return None
    dims = tensor_type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def _stays_small(node: NodeProto, feeds: Mapping[str, NDArray[np.generic] | None]) -> bool:
    """Whether the answer of a node on these values is as small as shape arithmetic is."""
    values = [np.asarray(feeds[name]) for name in node.input if name]
    if any(value.size > SMALL_TENSOR_ELEMENTS for value in values):
        return False
    if node.op_type not in _GROWING:
        shapes = [value.shape for value in values]
        rank = max((len(shape) for shape in shapes), default=0)
        sides = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
        is_bounded = math.prod(max(side) for side in sides) <= SMALL_TENSOR_ELEMENTS**2  # as broadcasting has it
        return node.op_type in _ARITHMETIC and is_bounded
    numbers = [value.ravel().tolist() for value in values]
    if any(isinstance(n, bool | str) or not math.isfinite(n) for some in numbers[1:] or numbers for n in some):
        return False
    match node.op_type:
        case "ConstantOfShape":
            return bool(math.prod(numbers[0]) <= SMALL_TENSOR_ELEMENTS)
        case "Expand" if len(numbers) == 2:
            return bool(values[0].size * math.prod(numbers[1]) <= SMALL_TENSOR_ELEMENTS)
        case "Tile" if len(numbers) == 2:
            return bool(values[0].size * math.prod(numbers[1]) <= SMALL_TENSOR_ELEMENTS)
        case "Range" if [len(some) for some in numbers] == [1, 1, 1]:
            (start,), (stop,), (step,) = numbers
            return bool(math.isfinite(start) and step) and abs(stop - start) <= SMALL_TENSOR_ELEMENTS * abs(step)
    return False


class _Folder:
    """Walk the nodes in order, folding constants and sizing what ONNX's inference left open."""

    def __init__(
        self,
        model: ModelProto,
        *,
        shapes: dict[str, Shape],
        types: dict[str, TypeProto],
        small: Mapping[str, TensorProto],
    ) -> None:
        self.model = model
        self.shapes = shapes
        self.types = types
        self.small = small
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.values: dict[str, NDArray[np.generic] | None] = {}

    def walk(self) -> None:
        for node in self.model.graph.node:
            if any(name and name not in self.shapes for name in node.output):
                self._size(node)

    def _size(self, node: NodeProto) -> None:
        value_types, data = {}, {}
        for name in filter(None, node.input):
            value = self._value(name)
            if value is not None:
                data[name] = numpy_helper.from_array(value, name)
                value_types[name] = helper.make_tensor_type_proto(data[name].data_type, value.shape)
            elif name in self.shapes:
                value_types[name] = helper.make_tensor_type_proto(self._elem_type(name), self.shapes[name])
            else:
                return
        opset = {o.domain: o.version for o in self.model.opset_import}.get(node.domain, 1)
        try:
            schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
            found = shape_inference.infer_node_outputs(
                schema, node, value_types, data, opset_imports=list(self.model.opset_import)
            )
        except INFERENCE_REFUSALS:
            return  # the caller names the tensor that has no size
        for name, tensor_type in found.items():
            shape = _static_shape(tensor_type)
            if shape is not None:
                self.shapes[name], self.types[name] = shape, tensor_type

    def _elem_type(self, name: str) -> int:
        known = self.types.get(name)
        return known.tensor_type.elem_type if known is not None else TensorProto.FLOAT

    def _value(self, name: str) -> NDArray[np.generic] | None:
        """Fold ``name`` if it hangs on constants and shapes only."""
        if name not in self.values:
            self.values[name] = None
            if name in self.small:
                self.values[name] = numpy_helper.to_array(self.small[name])
            elif name in self.makers:
                self._fold(self.makers[name])
        return self.values[name]

    def _fold(self, node: NodeProto) -> None:
        if node.op_type in SHAPE_READERS:
            shape = self.shapes.get(node.input[0]) if node.input else None
            if shape is None:
                return
            begin = next((a.i for a in node.attribute if a.name == "start"), 0)
            end = next((a.i for a in node.attribute if a.name == "end"), len(shape))
            dims = np.asarray(shape[begin:end] if node.op_type == "Shape" else math.prod(shape), dtype=np.int64)
            self.values[node.output[0]] = dims
            return
        feeds = {name: self._value(name) for name in node.input if name}
        if any(value is None for value in feeds.values()):
            return
        if math.prod(self.shapes.get(node.output[0], ())) > SMALL_TENSOR_ELEMENTS or not _stays_small(node, feeds):
            return
        try:
            with np.errstate(all="ignore"):
                answers = ReferenceEvaluator(node).run(None, feeds)
        except Exception:  # whatever NumPy raises at values that do not fit: the caller names what has no size
            return
        for name, answer in zip(node.output, answers, strict=True):
            self.values[name] = np.asarray(answer)
            self.shapes.setdefault(name, tuple(np.shape(answer)))
