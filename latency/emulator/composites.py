"""Operators that TensorRT 8.2 has no single kernel for, written out as the primitives it would run."""

import dataclasses
import math
from collections.abc import Sequence

from nuwa_search.latency.emulator.graph import Graph, Op
from nuwa_search.latency.emulator.shapes import Shape


def expand_composites(graph: Graph, *, keep_norms: bool = False) -> Graph:
    """Replace normalisations, ReduceL2 and the like by primitives with the same cost and sizes.

    Args:
        graph: Any graph.
        keep_norms: Whether layer and RMS normalisations have a kernel of their own and stay whole.
    """
    shapes = dict(graph.shapes)
    ops: list[Op] = []
    for op in graph.ops:
        match op.op_type:
            case "LayerNormalization" | "RMSNormalization" if keep_norms:
                ops.append(op)
            case "LayerNormalization" | "GroupNormalization" | "InstanceNormalization":
                ops.extend(_norm(op, shapes, _row_shape(op, shapes), is_centred=True))
            case "RMSNormalization":
                ops.extend(_norm(op, shapes, _row_shape(op, shapes), is_centred=False))
            case "ReduceL2":
                ops.extend(_reduce_l2(op, shapes))
            case _:
                ops.append(op)
    return dataclasses.replace(graph, ops=tuple(ops), shapes=shapes)


def _row_shape(op: Op, shapes: dict[str, Shape]) -> Shape:
    """Shape of one statistic per normalised row."""
    shape = shapes[op.inputs[0]]
    if op.op_type == "GroupNormalization":
        return (shape[0], op.integer("num_groups", 1))
    if op.op_type == "InstanceNormalization":
        return shape[:2]
    axis = op.integer("axis", -1) % len(shape)
    return shape[:axis] + (1,) * (len(shape) - axis)


class _Chain:
    """Writes primitives one after another, each with a sized output."""

    def __init__(self, op: Op, shapes: dict[str, Shape]) -> None:
        self.op = op
        self.shapes = shapes
        self.ops: list[Op] = []

    def add(self, op_type: str, inputs: Sequence[str], shape: Shape, *, output: str | None = None) -> str:
        name = f"{self.op.name}/{op_type}_{len(self.ops)}"
        out = output or f"{name}_output"
        self.shapes[out] = shape
        self.ops.append(Op(name=name, op_type=op_type, inputs=tuple(inputs), outputs=(out,)))
        return out


def _norm(op: Op, shapes: dict[str, Shape], rows: Shape, *, is_centred: bool) -> list[Op]:
    x, shape = op.inputs[0], shapes[op.inputs[0]]
    chain = _Chain(op, shapes)
    if is_centred:
        mean = chain.add("ReduceMean", [x], rows)
        x = chain.add("Sub", [x, mean], shape)
    square = chain.add("Pow", [x], shape)
    variance = chain.add("ReduceMean", [square], rows)
    deviation = chain.add("Sqrt", [chain.add("Add", [variance], rows)], rows)
    last = chain.add("Div", [x, deviation], shape)
    num_affine = sum(1 for name in op.inputs[1:3] if name)
    for index in range(num_affine):
        last = chain.add(("Mul", "Add")[index], [last], shape)
    final = chain.ops[-1]
    chain.ops[-1] = dataclasses.replace(final, outputs=(op.outputs[0],))
    return chain.ops


def _reduce_l2(op: Op, shapes: dict[str, Shape]) -> list[Op]:
    chain = _Chain(op, shapes)
    shape, rows = shapes[op.inputs[0]], shapes[op.outputs[0]]
    square = chain.add("Mul", [op.inputs[0]], shape)
    total = chain.add("ReduceSum", [square], rows if math.prod(rows) else ())
    chain.add("Sqrt", [total], rows, output=op.outputs[0])
    return chain.ops
