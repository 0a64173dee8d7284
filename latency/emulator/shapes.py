"""Static shapes of every tensor in an ONNX graph, found without touching large weights."""

import math
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

Shape = tuple[int, ...]

# Initializers up to this many elements keep their values: shapes, axes and scalars are read from them.
SMALL_TENSOR_ELEMENTS = 1024
# Operators whose answer is known once shapes are known: the engine builder folds them away.
SHAPE_READERS = frozenset({"Shape", "Size"})


def is_small(tensor: TensorProto) -> bool:
    """Say whether the values of an initializer are at hand and worth reading."""
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
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    types: dict[str, TypeProto] = {}
    for source in (model.graph.value_info, inferred.input, inferred.value_info, inferred.output):
        for info in source:
            types[info.name] = info.type
            shape = _static_shape(info.type)
            if shape is not None:
                shapes[info.name] = shape
    if any(name and name not in shapes for node in model.graph.node for name in node.output):
        _Folder(model, shapes=shapes, types=types, small=small).walk()
    return shapes


def _static_shape(tensor_type: TypeProto) -> Shape | None:
    if not (tensor_type.HasField("tensor_type") and tensor_type.tensor_type.HasField("shape")):
        return None
    dims = tensor_type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


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
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
        try:
            found = shape_inference.infer_node_outputs(
                schema, node, value_types, data, opset_imports=list(self.model.opset_import)
            )
        except onnx.shape_inference.InferenceError:
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
            shape = self.shapes.get(node.input[0])
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
        if math.prod(self.shapes.get(node.output[0], ())) > SMALL_TENSOR_ELEMENTS:
            return
        if node.op_type == "ConstantOfShape":  # its size is in its input's values
            wanted = feeds[node.input[0]]
            if wanted is None or math.prod(np.ravel(wanted).tolist()) > SMALL_TENSOR_ELEMENTS:
                return
        answers = ReferenceEvaluator(node).run(None, feeds)
        for name, answer in zip(node.output, answers, strict=True):
            self.values[name] = np.asarray(answer)
            self.shapes.setdefault(name, tuple(np.shape(answer)))
