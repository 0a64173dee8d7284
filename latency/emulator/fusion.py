"""From operators to the kernels that TensorRT 8.2 launches on a GPU of compute capability 5.3.

The fusions are those that NVIDIA's developer guide for TensorRT 8.2 lists under "Types of Fusions"
and that exist for Maxwell: convolution + scale + sum + ReLU, product + bias, pointwise chains,
shuffle + shuffle. There is no fused attention and no fused GELU or normalisation there.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.emulator.composites import expand_composites
from nuwa_search.latency.emulator.graph import Graph, Op
from nuwa_search.latency.emulator.kernels import ConvWork, Kernel, KernelKind, MatmulWork, StreamWork
from nuwa_search.latency.emulator.pointwise import instructions_per_element, is_pointwise, pointwise_clusters

_ALWAYS_VIEWS = frozenset({"Identity", "Dropout", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
# Views when they leave every element in place, kernels that move data otherwise.
_MOVERS = frozenset({"Slice", "Pad", "Expand", "Tile", "Gather", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth"})
_REDUCTIONS = frozenset(
    {
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
        "ReduceL1",
        "ReduceLogSumExp",
    }
    | {"GlobalAveragePool", "GlobalMaxPool", "ArgMax", "ArgMin", "CumSum", "TopK"}
)
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})
_POOLS = frozenset({"MaxPool", "AveragePool", "LRN"})
_FUSED_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
_SCALES = frozenset({"BatchNormalization", "Mul", "Add", "Sub", "Div"})
# Loads, stores, address arithmetic and conversion per element and stream of a generated kernel.
_STREAM_INSTRUCTIONS = 2


def kernels_from_graph(graph: Graph) -> tuple[Kernel, ...]:
    """List the launches of one inference in order.

    Raises:
        NuwaError: If an operator is not one that this model can price.
    """
    return _Fuser(expand_composites(graph)).run()


class _Fuser:
    """Holds who reads and writes what while kernels are put together."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.alias: dict[str, str] = {}
        self.ops: list[Op] = []
        self.consumers: dict[str, list[int]] = defaultdict(list)
        self.producers: dict[str, int] = {}
        self.absorbed: set[int] = set()
        self.in_place: set[str] = set()

    def run(self) -> tuple[Kernel, ...]:
        self._drop_views()
        self._index()
        self._absorb_squares()
        heads = {i: self._absorb(i) for i, op in enumerate(self.ops) if op.op_type in ("Conv", "MatMul", "Gemm")}
        free = [is_pointwise(op) and i not in self.absorbed for i, op in enumerate(self.ops)]
        clusters = pointwise_clusters(
            self.ops,
            free=free,
            alone=[self._is_broadcast(op) for op in self.ops],
            consumers=self.consumers,
            graph_outputs=self.outputs,
        )
        placed: list[tuple[int, list[Kernel]]] = [(c[-1], [self._pointwise_kernel(c)]) for c in clusters]
        for i, op in enumerate(self.ops):
            if i in heads:
                placed.append((heads[i][-1], [self._product_kernel(heads[i])]))
            elif not free[i] and i not in self.absorbed:
                placed.append((i, self._other_kernels(op)))
        placed.sort(key=lambda item: item[0])
        return tuple(kernel for _, kernels in placed for kernel in kernels)

    # --- views and indices ---------------------------------------------------------------------

    def _real(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def _activations(self, op: Op) -> list[str]:
        """Tensors that ``op`` reads and that are not constant, views resolved."""
        return [self._real(name) for name in op.inputs if name and name not in self.graph.constants]

    def _is_view(self, op: Op) -> bool:
        if op.op_type in _ALWAYS_VIEWS:
            return True
        shapes = self.graph.shapes
        if op.op_type in _MOVERS:
            return self.graph.elements(op.inputs[0]) == self.graph.elements(op.outputs[0])
        if op.op_type == "Concat":
            return len(op.inputs) == 1
        if op.op_type == "Transpose":
            shape = shapes[op.inputs[0]]
            perm = op.ints("perm", tuple(range(len(shape) - 1, -1, -1)))
            moved = [axis for axis in perm if shape[axis] > 1]
            return moved == sorted(moved)
        return False

    def _drop_views(self) -> None:
        readers: dict[str, list[Op]] = defaultdict(list)
        for op in self.graph.ops:
            if self._is_view(op):
                self.alias[op.outputs[0]] = op.inputs[0]
        for op in self.graph.ops:
            if op.outputs[0] not in self.alias:
                for name in self._activations(op):
                    readers[name].append(op)
        for op in self.graph.ops:
            if op.op_type == "Transpose" and op.outputs[0] not in self.alias and self._is_free(op, readers):
                self.alias[op.outputs[0]] = op.inputs[0]
        self.ops = [op for op in self.graph.ops if op.outputs[0] not in self.alias]

    def _is_free(self, op: Op, readers: dict[str, list[Op]]) -> bool:
        """Say whether a transpose costs nothing: read transposed by products, or merged into the next shuffle."""
        following = readers.get(op.outputs[0], [])
        if not following:
            return False
        if all(other.op_type == "Transpose" for other in following) and len(following) == 1:
            return True
        rank = len(self.graph.shapes[op.inputs[0]])
        perm = op.ints("perm", tuple(range(rank - 1, -1, -1)))
        swaps_last_two = rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)
        return swaps_last_two and all(other.op_type == "MatMul" for other in following)

    def _index(self) -> None:
        for i, op in enumerate(self.ops):
            for name in dict.fromkeys(self._activations(op)):
                self.consumers[name].append(i)
            for name in op.outputs:
                self.producers[name] = i
        self.outputs = frozenset(self._real(name) for name in self.graph.outputs)

    # --- convolutions and products with what is fused into them --------------------------------

    def _only_reader(self, op: Op) -> int | None:
        name = op.outputs[0]
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def _is_depthwise(self, op: Op) -> bool:
        groups = op.integer("group", 1)
        return groups > 1 and groups == self.graph.shapes[op.inputs[0]][1]

    def _absorb(self, head: int) -> list[int]:
        """Follow the operators that run in the epilogue of ``head``; the last one's output is written."""
        chain = [head]
        has_sum = self.ops[head].op_type != "Conv" or self._is_depthwise(self.ops[head])
        has_weights = self.ops[head].op_type == "Conv" or len(self._activations(self.ops[head])) == 1
        while has_weights:
            following = self._only_reader(self.ops[chain[-1]])
            if following is None or following in self.absorbed:
                break
            op = self.ops[following]
            num_inputs = len(self._activations(op))
            is_scale = op.op_type in _SCALES and num_inputs == 1 and self._same_size(op)
            if self.ops[head].op_type != "Conv":
                is_scale = is_scale and op.op_type == "Add" and len(chain) == 1
            is_sum = op.op_type == "Add" and num_inputs == 2 and not has_sum and self._sum_is_ready(op, chain[-1])
            if not (is_scale or is_sum or op.op_type in _FUSED_ACTIVATIONS):
                break
            has_sum = has_sum or is_sum
            chain.append(following)
            if op.op_type in _FUSED_ACTIVATIONS:
                break
        self.absorbed.update(chain)
        return chain

    def _same_size(self, op: Op) -> bool:
        return self.graph.elements(self._activations(op)[0]) == self.graph.elements(op.outputs[0])

    def _sum_is_ready(self, op: Op, last: int) -> bool:
        """Say whether the other addend is of full size and written before the convolution runs."""
        names = self._activations(op)
        if len({self.graph.elements(name) for name in names} | {self.graph.elements(op.outputs[0])}) != 1:
            return False
        return all(self.producers.get(name, -1) <= last for name in names)

    def _product_kernel(self, chain: Sequence[int]) -> Kernel:
        op, last = self.ops[chain[0]], self.ops[chain[-1]]
        inside = {name for i in chain for name in self.ops[i].outputs}
        outer = {name for i in chain for name in self._activations(self.ops[i]) if name not in inside}
        reads = sum(self.graph.elements(name) for name in outer)
        writes = self.graph.elements(last.outputs[0])
        name = " + ".join(self.ops[i].name for i in chain)
        if op.op_type == "Conv":
            conv = self._conv_work(op, reads=reads, writes=writes)
            kind: KernelKind = "depthwise_conv" if conv.is_depthwise else "grouped_conv" if conv.groups > 1 else "conv"
            return Kernel(name=name, kind=kind, work=conv)
        return Kernel(name=name, kind="matmul", work=self._matmul_work(op, reads=reads, writes=writes))

    def _conv_work(self, op: Op, *, reads: int, writes: int) -> ConvWork:
        shapes = self.graph.shapes
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

    def _matmul_work(self, op: Op, *, reads: int, writes: int) -> MatmulWork:
        shapes = self.graph.shapes
        left, right, out = shapes[op.inputs[0]], shapes[op.inputs[1]], shapes[op.outputs[0]]
        left, right = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
        k = left[-2] if op.integer("transA", 0) else left[-1]
        n = right[-2] if op.integer("transB", 0) else right[-1]
        num_weights = sum(math.prod(shapes[name]) for name in op.inputs[:2] if name in self.graph.constants)
        rows = math.prod(out) // n
        is_shared = len(right) == 2 or math.prod(right[:-2]) == 1  # one right operand: rows of all batches join
        m = rows if is_shared else rows // math.prod(out[:-2])
        return MatmulWork(batch=rows // m, m=m, n=n, k=k, num_weights=num_weights, reads=reads, writes=writes)

    def _absorb_squares(self) -> None:
        """Let a square that only a reduction reads run inside the reduction."""
        for op in self.ops:
            maker = self.producers.get(self._activations(op)[0]) if op.op_type in _REDUCTIONS else None
            if maker is None or self.ops[maker].op_type not in ("Pow", "Mul"):
                continue
            if self._only_reader(self.ops[maker]) is not None and len(set(self._activations(self.ops[maker]))) == 1:
                self.absorbed.add(maker)

    def _is_broadcast(self, op: Op) -> bool:
        """Say whether activations of different sizes meet: an element-wise kernel of its own, never in a chain."""
        return len({self.graph.elements(name) for name in self._activations(op)}) > 1

    # --- kernels that stream memory --------------------------------------------------------------

    def _pointwise_kernel(self, cluster: Sequence[int]) -> Kernel:
        inside = {name for i in cluster for name in self.ops[i].outputs}
        outer = {name for i in cluster for name in self._activations(self.ops[i]) if name not in inside}
        written = [
            name
            for name in inside
            if name in self.outputs or any(reader not in cluster for reader in self.consumers.get(name, ()))
        ]
        sizes = [self.graph.elements(name) for name in outer] + [self.graph.elements(name) for name in written]
        arithmetic = sum(
            instructions_per_element(self.ops[i]) * self.graph.elements(self.ops[i].outputs[0]) for i in cluster
        )
        work = StreamWork(
            reads=sum(self.graph.elements(name) for name in outer),
            writes=sum(self.graph.elements(name) for name in written),
            instructions=arithmetic + _STREAM_INSTRUCTIONS * sum(sizes),
        )
        return Kernel(name=" + ".join(self.ops[i].name for i in cluster), kind="pointwise", work=work)

    def _stream(self, op: Op, kind: KernelKind, *, reads: int, writes: int, per_element: int = 0) -> Kernel:
        instructions = per_element + _STREAM_INSTRUCTIONS * (reads + writes)
        work = StreamWork(reads=reads, writes=writes, instructions=instructions)
        return Kernel(name=op.name, kind=kind, work=work)

    def _other_kernels(self, op: Op) -> list[Kernel]:
        reads = sum(self.graph.elements(name) for name in dict.fromkeys(self._activations(op)))
        writes = self.graph.elements(op.outputs[0])
        kind = op.op_type
        if kind in _REDUCTIONS:
            return [self._stream(op, "reduce", reads=reads, writes=writes)]
        if kind in _SOFTMAXES:
            # maximum, exponential and sum, division: the row is walked three times
            return [self._stream(op, "softmax", reads=reads, writes=writes, per_element=20 * writes)]
        if kind in _POOLS:
            window = math.prod(op.ints("kernel_shape", (op.integer("size", 1),)))
            return [self._stream(op, "pool", reads=reads, writes=writes, per_element=2 * window * writes)]
        if kind == "Transpose":
            return [self._stream(op, "shuffle", reads=writes, writes=writes)]
        if kind in _MOVERS:
            return [self._stream(op, "copy", reads=min(reads, writes), writes=writes)]
        if kind == "Split":
            sizes = [self.graph.elements(name) for name in op.outputs if name]
            return [self._stream(op, "copy", reads=size, writes=size) for size in sizes]
        if kind == "Concat":
            return self._concat_kernels(op)
        if kind == "ConvTranspose":
            return [self._conv_transpose_kernel(op, reads=reads, writes=writes)]
        if kind in _QUANTISERS:
            raise NuwaError(
                f"{kind} ({op.name!r}) asks for INT8, which the Jetson Nano and TX2 lack and this model does not price",
                hint="export without quantisation and use precision fp16",
            )
        raise NuwaError(
            f"operator {kind} ({op.name!r}) is not one that the time model can price",
            hint="export it as Conv, MatMul, Gemm, Softmax, reductions, pooling, shuffles and pointwise operators",
        )

    def _concat_kernels(self, op: Op) -> list[Kernel]:
        """Copy what its producer cannot write in place: a tensor lives in one joined buffer only."""
        axis = op.integer("axis", 0)
        shape = self.graph.shapes[op.outputs[0]]
        is_contiguous = math.prod(shape[: axis % len(shape)]) == 1
        copied = 0
        for name in op.inputs:
            real = self._real(name)
            if is_contiguous and real in self.producers and real not in self.in_place and real == name:
                self.in_place.add(real)
            else:
                copied += self.graph.elements(name)
        return [self._stream(op, "copy", reads=copied, writes=copied)] if copied else []

    def _conv_transpose_kernel(self, op: Op, *, reads: int, writes: int) -> Kernel:
        shapes = self.graph.shapes
        weight, source = shapes[op.inputs[1]], shapes[op.inputs[0]]
        groups = op.integer("group", 1)
        work = ConvWork(
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
        return Kernel(name=op.name, kind="grouped_conv" if groups > 1 else "conv", work=work)
