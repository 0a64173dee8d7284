"""Operators of an ONNX graph with their sizes: what the board would have to run, weights unread."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from onnx import AttributeProto, ModelProto, NodeProto, defs

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.emulator.shapes import SHAPE_READERS, Shape, infer_shapes

_STANDARD = ("", "ai.onnx")

AttrValue = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Op:
    """One operator on activations.

    Args:
        name: Name for people.
        op_type: ONNX operator type.
        inputs: Names of tensors in order; "" where an optional input is left out.
        outputs: Names of the tensors written.
        attrs: Attributes, lists as tuples, tensors left out.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, AttrValue] = field(default_factory=dict, hash=False)

    def ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Read a list of integers."""
        value = self.attrs.get(name, default)
        return tuple(int(v) for v in value) if isinstance(value, tuple) else default

    def integer(self, name: str, default: int) -> int:
        """Read an integer."""
        value = self.attrs.get(name, default)
        return value if isinstance(value, int) else default


@dataclass(frozen=True)
class Graph:
    """Operators in execution order, sizes of every tensor they touch, and what is constant.

    Args:
        ops: Operators that depend on the input image; shape arithmetic and folded constants are gone.
        shapes: Shape of every tensor touched by ``ops``.
        constants: Names of tensors known before the first inference.
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs.
        num_weights: Elements of all initializers.
        opset: Opset of the default domain.
    """

    ops: tuple[Op, ...]
    shapes: Mapping[str, Shape]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    num_weights: int
    opset: int

    def elements(self, tensor: str) -> int:
        """Count the elements of one tensor."""
        return math.prod(self.shapes[tensor])


def graph_from_model(model: ModelProto) -> Graph:
    """Read the operators of ``model`` and size every tensor, without touching large weights.

    Raises:
        NuwaError: If an operator is of a foreign domain or holds control flow, or a tensor has no
            static shape.
    """
    for node in model.graph.node:
        if node.domain not in _STANDARD:
            raise NuwaError(
                f"the graph holds {node.domain}::{node.op_type}, which TensorRT's ONNX parser does not know",
                hint="export with standard ONNX operators only",
            )
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise NuwaError(
                f"the graph holds control flow ({node.op_type} {node.name!r}), whose time cannot be told beforehand",
                hint="export a traced model with static shapes",
            )
    _check_arity(model)
    shapes = infer_shapes(model)
    initializers = {t.name: math.prod(t.dims) for t in model.graph.initializer}
    inputs = tuple(i.name for i in model.graph.input if i.name not in initializers)
    constants = set(initializers)
    ops: list[Op] = []
    for index, node in enumerate(model.graph.node):
        if node.op_type in SHAPE_READERS or all(not i or i in constants for i in node.input):
            constants.update(node.output)
        else:
            ops.append(_op_from_node(node, index))
    _check_sizes(ops, shapes, inputs=inputs, constants=constants)
    return Graph(
        ops=tuple(ops),
        shapes=shapes,
        constants=frozenset(constants),
        inputs=inputs,
        outputs=tuple(o.name for o in model.graph.output),
        num_weights=sum(n for n in initializers.values() if n > 1),
        opset=max((o.version for o in model.opset_import if o.domain in _STANDARD), default=1),
    )


def _check_arity(model: ModelProto) -> None:
    """Refuse operators with fewer or more tensors than ONNX gives them; what reads them takes theirs for granted.

    Raises:
        NuwaError: If there is such an operator; the message names the first.
    """
    opset = max((o.version for o in model.opset_import if o.domain in _STANDARD), default=1)
    for node in model.graph.node:
        for what, names, (low, high) in zip(
            ("inputs", "outputs"), (node.input, node.output), _arity(node.op_type, opset), strict=True
        ):
            if not low <= len(names) <= high or not all(names[:low]):
                raise NuwaError(
                    f"{node.op_type} {node.name!r} has {len([n for n in names if n])} {what}, wanted {low} to {high}",
                    hint="export the model again",
                )


@cache
def _arity(op_type: str, opset: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Fewest and most inputs, and outputs, of an operator.

    Raises:
        NuwaError: If ONNX has none of that name in that opset.
    """
    if not defs.has(op_type):
        raise NuwaError(f"no ONNX operator is called {op_type!r}", hint="export with standard ONNX operators only")
    try:
        schema = defs.get_schema(op_type, opset, "")
    except defs.SchemaError as error:
        raise NuwaError(f"opset {opset} has no operator {op_type}", hint="export the model again") from error
    return (schema.min_input, schema.max_input), (schema.min_output, schema.max_output)


def _op_from_node(node: NodeProto, index: int) -> Op:
    attrs: dict[str, AttrValue] = {}
    for attribute in node.attribute:
        match attribute.type:
            case AttributeProto.INT:
                attrs[attribute.name] = attribute.i
            case AttributeProto.INTS:
                attrs[attribute.name] = tuple(attribute.ints)
            case AttributeProto.FLOAT:
                attrs[attribute.name] = attribute.f
            case AttributeProto.STRING:
                attrs[attribute.name] = attribute.s.decode(errors="replace")
            case _:
                pass
    return Op(
        name=node.name or f"{node.op_type}_{index}",
        op_type=node.op_type,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attrs=attrs,
    )


def _check_sizes(ops: list[Op], shapes: Mapping[str, Shape], *, inputs: tuple[str, ...], constants: set[str]) -> None:
    for name in inputs:
        if name not in shapes:
            raise NuwaError(
                f"input {name!r} has no static shape; an engine is built and timed for one shape",
                hint="export the model with fixed batch and image size",
            )
    for op in ops:
        for name in (*op.inputs, *op.outputs):
            shape = shapes.get(name, ())
            is_constant = not name or name in constants
            if any(size < 1 for size in shape) and not (is_constant and len(shape) < 2):  # lists may be empty: no axes
                raise NuwaError(
                    f"tensor {name!r} at {op.op_type} {op.name!r} is {list(shape)}: it holds nothing to compute",
                    hint="export with static shapes of at least 1",
                )
            if not is_constant and name not in shapes:
                raise NuwaError(
                    f"the size of tensor {name!r} at {op.op_type} {op.name!r} cannot be told from the graph",
                    hint="export with static shapes, or run onnxsim on the file first",
                )
