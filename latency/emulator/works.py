"""Sizes of products and convolutions, read from the graph."""

import math

from nuwa_search.latency.emulator.graph import Graph, Op
from nuwa_search.latency.emulator.kernels import ConvWork, MatmulWork


def conv_work(graph: Graph, op: Op, *, reads: int, writes: int) -> ConvWork:
    """Read the size of a convolution from the graph.

    Args:
        graph: Graph with the shape of every tensor.
        op: The convolution.
        reads: Activation elements read from memory, those of fused operators included.
        writes: Activation elements written to memory.
    """
    shapes = graph.shapes
    weight, out = shapes[op.inputs[1]], shapes[op.outputs[0]]
    groups = op.integer("group", 1)
    taps = (1, *weight[2:]) if len(weight) == 3 else weight[2:]
    strides = op.ints("strides", (1,)) + op.ints("dilations", (1,))
    return ConvWork(
        batch=out[0],
        in_channels=weight[1] * groups,
        out_channels=out[1],
        groups=groups,
        height=math.prod(out[2:-1]),
        width=out[-1],
        kernel_height=math.prod(taps[:-1]),
        kernel_width=taps[-1],
        unit_stride=all(s == 1 for s in strides),
        reads=reads,
        writes=writes,
    )


def matmul_work(graph: Graph, op: Op, *, reads: int, writes: int) -> MatmulWork:
    """Read the size of a matrix product from the graph.

    Args:
        graph: Graph with the shape of every tensor.
        op: The product.
        reads: Activation elements read from memory, those of fused operators included.
        writes: Activation elements written to memory.
    """
    shapes = graph.shapes
    left, right, out = shapes[op.inputs[0]], shapes[op.inputs[1]], shapes[op.outputs[0]]
    left, right = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
    k = left[-2] if op.integer("transA", 0) else left[-1]
    n = right[-2] if op.integer("transB", 0) else right[-1]
    num_weights = sum(math.prod(shapes[name]) for name in op.inputs[:2] if name in graph.constants)
    rows = math.prod(out) // n
    is_shared = len(right) == 2 or math.prod(right[:-2]) == 1  # one right operand: rows of all batches join
    m = rows if is_shared else rows // math.prod(out[:-2])
    return MatmulWork(batch=rows // m, m=m, n=n, k=k, num_weights=num_weights, reads=reads, writes=writes)


def conv_transpose_work(graph: Graph, op: Op, *, reads: int, writes: int) -> ConvWork:
    """Read the size of a transposed convolution from the graph: it is priced as a convolution over its input.

    Args:
        graph: Graph with the shape of every tensor.
        op: The transposed convolution.
        reads: Activation elements read from memory, those of fused operators included.
        writes: Activation elements written to memory.
    """
    shapes = graph.shapes
    weight, source = shapes[op.inputs[1]], shapes[op.inputs[0]]
    groups = op.integer("group", 1)
    return ConvWork(
        batch=source[0],
        in_channels=source[1],
        out_channels=weight[1] * groups,
        groups=groups,
        height=math.prod(source[2:-1]),
        width=source[-1],
        kernel_height=math.prod(weight[2:-1]),
        kernel_width=weight[-1],
        unit_stride=False,
        reads=reads,
        writes=writes,
    )
