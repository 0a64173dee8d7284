"""From operators to the kernels that TensorRT launches.

The fusions are those that NVIDIA's developer guide for TensorRT 8.2 lists under "Types of Fusions"
and that exist for Maxwell: convolution + scale + sum + ReLU, product + bias, pointwise chains,
shuffle + shuffle. There is no fused attention and no fused GELU or normalisation there; ``FusionRules``
says whether a release has one kernel for attention and one for a normalisation.

QuantizeLinear and DequantizeLinear move nothing of their own: a product whose operands come through them
multiplies 8-bit integers, and its producer writes them ("Explicit Quantization" in the same guide).
"""

import dataclasses
import math
from collections.abc import Sequence

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.emulator.composites import expand_composites
from nuwa_search.latency.emulator.fusion_rules import (
    PLAIN_RULES,
    FusionRules,
)
from nuwa_search.latency.emulator.graph import Graph, Op
from nuwa_search.latency.emulator.kernels import AttentionWork, Kernel, KernelKind, StreamWork
from nuwa_search.latency.emulator.layout import Placed, with_reformats
from nuwa_search.latency.emulator.operator_kinds import (
    FOREIGN_QUANTISERS,
    FUSED_ACTIVATIONS,
    MOVERS,
    NORM_INSTRUCTIONS,
    NORMS,
    POOLS,
    REDUCTIONS,
    SCALES,
    SOFTMAXES,
    STREAM_INSTRUCTIONS,
)
from nuwa_search.latency.emulator.pointwise import instructions_per_element, is_pointwise, pointwise_clusters
from nuwa_search.latency.emulator.transformer import AttentionNodes, find_attentions, find_norms
from nuwa_search.latency.emulator.wiring import Wiring
from nuwa_search.latency.emulator.works import conv_transpose_work, conv_work, matmul_work


def kernels_from_graph(graph: Graph, rules: FusionRules = PLAIN_RULES) -> tuple[Kernel, ...]:
    """List the launches of one inference in order.

    Raises:
        NuwaError: If an operator is not one that this model can price.
    """
    return _Fuser(expand_composites(graph, keep_norms=rules.norms), rules).run()


class _Fuser(Wiring):
    """Puts kernels together."""

    def __init__(self, graph: Graph, rules: FusionRules) -> None:
        super().__init__(graph)
        self.rules = rules
        self.absorbed: set[int] = set()
        self.in_place: set[str] = set()

    def run(self) -> tuple[Kernel, ...]:
        self.wire()
        fused = self._fused_transformer_kernels()
        self._absorb_squares()
        heads = {i: self._absorb(i) for i, op in enumerate(self.ops) if self._is_head(i, op)}
        free = [is_pointwise(op) and i not in self.absorbed for i, op in enumerate(self.ops)]
        clusters = pointwise_clusters(
            self.ops,
            free=free,
            alone=[self._is_broadcast(op) for op in self.ops],
            consumers=self.consumers,
            graph_outputs=self.outputs,
        )
        placed = [self._place(c, [self._pointwise_kernel(c)]) for c in clusters]
        placed += [self._place(members, [kernel]) for members, kernel in fused]
        for i in range(len(self.ops)):
            if i in heads:
                placed.append(self._place(heads[i], [self._product_kernel(heads[i])]))
            elif not free[i] and i not in self.absorbed:
                placed.append(self._place([i], self._other_kernels(i)))
        placed.sort(key=lambda place: place.index)
        if self.rules.reformats:
            return tuple(with_reformats(placed, self.graph.shapes, inputs=self.graph.inputs))
        return tuple(kernel for place in placed for kernel in place.kernels)

    def _place(self, members: Sequence[int], kernels: Sequence[Kernel]) -> Placed:
        outer, written = self._borders(members)
        is_pooling = self.ops[members[0]].op_type in ("GlobalAveragePool", "GlobalMaxPool")
        return Placed(members[-1], tuple(kernels), tuple(outer), tuple(written), is_pooling)

    def _is_head(self, index: int, op: Op) -> bool:
        return op.op_type in ("Conv", "MatMul", "Gemm") and index not in self.absorbed

    # --- attention and normalisation -----------------------------------------------------------

    def _fused_transformer_kernels(self) -> list[tuple[list[int], Kernel]]:
        found: list[tuple[list[int], Kernel]] = []
        if self.rules.attention:
            for attention in find_attentions(self):
                self.absorbed |= attention.members
                found.append((sorted(attention.members), self._attention_kernel(attention)))
        if self.rules.norms:
            for members in find_norms(self):
                if not members & self.absorbed:
                    self.absorbed |= members
                    found.append((sorted(members), self._norm_kernel(sorted(members))))
        return found

    def _attention_kernel(self, attention: AttentionNodes) -> Kernel:
        members = sorted(attention.members)
        scores = matmul_work(self.graph, self.ops[attention.scores], reads=0, writes=0)
        values = matmul_work(self.graph, self.ops[attention.values], reads=0, writes=0)
        reads, writes, int8_moved = self._traffic(members)
        work = AttentionWork(
            batch=scores.batch,
            queries=scores.m,
            keys=scores.n,
            qk_dim=scores.k,
            v_dim=values.n,
            reads=reads,
            writes=writes,
            int8_moved=int8_moved,
        )
        return Kernel(name=self._joined(members), kind="attention", work=work)

    def _norm_kernel(self, members: Sequence[int]) -> Kernel:
        reads, writes, int8_moved = self._traffic(members)
        instructions = NORM_INSTRUCTIONS * reads + STREAM_INSTRUCTIONS * (reads + writes)
        work = StreamWork(reads=reads, writes=writes, instructions=instructions, int8_moved=int8_moved)
        return Kernel(name=self._joined(members), kind="norm", work=work)

    def _joined(self, members: Sequence[int]) -> str:
        return " + ".join(self.ops[i].name for i in members)

    def _traffic(self, members: Sequence[int]) -> tuple[int, int, int]:
        """Count elements that a kernel of ``members`` reads, writes, and moves as 8-bit integers."""
        outer, written = self._borders(members)
        return (
            sum(self.graph.elements(name) for name in outer),
            sum(self.graph.elements(name) for name in written),
            self.int8_moved(members, written),
        )

    def _borders(self, members: Sequence[int]) -> tuple[list[str], list[str]]:
        """List the tensors that a kernel of ``members`` reads from outside, and those that it writes for others."""
        inside = dict.fromkeys(name for i in members for name in self.ops[i].outputs)
        outer = dict.fromkeys(n for i in members for n in self.activations(self.ops[i]) if n not in inside)
        written = [
            name
            for name in inside
            if name in self.outputs or any(reader not in members for reader in self.consumers.get(name, ()))
        ]
        return list(outer), written

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
        has_weights = self.ops[head].op_type == "Conv" or len(self.activations(self.ops[head])) == 1
        while has_weights:
            following = self._only_reader(self.ops[chain[-1]])
            if following is None or following in self.absorbed:
                break
            op = self.ops[following]
            num_inputs = len(self.activations(op))
            is_scale = op.op_type in SCALES and num_inputs == 1 and self._same_size(op)
            if self.ops[head].op_type != "Conv":
                is_scale = is_scale and op.op_type == "Add" and len(chain) == 1
            is_sum = op.op_type == "Add" and num_inputs == 2 and not has_sum and self._sum_is_ready(op, chain[-1])
            if not (is_scale or is_sum or op.op_type in FUSED_ACTIVATIONS):
                break
            has_sum = has_sum or is_sum
            chain.append(following)
            if op.op_type in FUSED_ACTIVATIONS:
                break
        if self.rules.conv_activations and self.ops[head].op_type == "Conv":
            chain += self._activation_after(chain[-1])
        self.absorbed.update(chain)
        return chain

    def _activation_after(self, last: int) -> list[int]:
        """List the pointwise operators that work on the output of ``last`` alone and leave one tensor behind."""
        source = self.ops[last].outputs[0]
        size = self.graph.elements(source)
        inside = {source}
        found: list[int] = []
        for index in self._readers_after(source):
            op = self.ops[index]
            is_free = is_pointwise(op) and index not in self.absorbed
            if is_free and inside.issuperset(self.activations(op)) and self.graph.elements(op.outputs[0]) == size:
                found.append(index)
                inside.update(op.outputs)
        while found and self._borders([last, *found])[1] != [self.ops[found[-1]].outputs[0]]:
            found.pop()
        return found

    def _readers_after(self, source: str) -> list[int]:
        """List what reads ``source``, and what reads pointwise operators among that, in execution order."""
        waiting, found = [source], set[int]()
        while waiting:
            for index in self.consumers.get(waiting.pop(), ()):
                if index not in found and is_pointwise(self.ops[index]):
                    found.add(index)
                    waiting.extend(self.ops[index].outputs)
        return sorted(found)

    def _same_size(self, op: Op) -> bool:
        return self.graph.elements(self.activations(op)[0]) == self.graph.elements(op.outputs[0])

    def _sum_is_ready(self, op: Op, last: int) -> bool:
        """Return whether the other addend is of full size and written before the convolution runs."""
        names = self.activations(op)
        if len({self.graph.elements(name) for name in names} | {self.graph.elements(op.outputs[0])}) != 1:
            return False
        return all(self.producers.get(name, -1) <= last for name in names)

    def _product_kernel(self, chain: Sequence[int]) -> Kernel:
        op, last = self.ops[chain[0]], self.ops[chain[-1]]
        outer, _ = self._borders(chain)
        reads = sum(self.graph.elements(name) for name in outer)
        writes = self.graph.elements(last.outputs[0])
        name = self._joined(chain)
        is_int8, int8_moved = self.multiplies_int8(op), self.int8_moved(chain, last.outputs[:1])
        if op.op_type == "Conv":
            conv = conv_work(self.graph, op, reads=reads, writes=writes)
            conv = dataclasses.replace(conv, is_int8=is_int8, int8_moved=int8_moved)
            kind: KernelKind = "depthwise_conv" if conv.is_depthwise else "grouped_conv" if conv.groups > 1 else "conv"
            return Kernel(name=name, kind=kind, work=conv)
        matmul = matmul_work(self.graph, op, reads=reads, writes=writes)
        matmul = dataclasses.replace(matmul, is_int8=is_int8, int8_moved=int8_moved)
        return Kernel(name=name, kind="matmul", work=matmul)

    def _absorb_squares(self) -> None:
        """Let a square that only a reduction reads run inside the reduction."""
        for op in self.ops:
            maker = self.producers.get(self.activations(op)[0]) if op.op_type in REDUCTIONS else None
            if maker is None or maker in self.absorbed or self.ops[maker].op_type not in ("Pow", "Mul"):
                continue
            if self._only_reader(self.ops[maker]) is not None and len(set(self.activations(self.ops[maker]))) == 1:
                self.absorbed.add(maker)

    def _is_broadcast(self, op: Op) -> bool:
        """Return whether activations of different sizes meet: an element-wise kernel of its own, never in a chain."""
        return len({self.graph.elements(name) for name in self.activations(op)}) > 1

    # --- kernels that stream memory --------------------------------------------------------------

    def _pointwise_kernel(self, cluster: Sequence[int]) -> Kernel:
        outer, written = self._borders(cluster)
        sizes = [self.graph.elements(name) for name in outer] + [self.graph.elements(name) for name in written]
        arithmetic = sum(
            instructions_per_element(self.ops[i]) * self.graph.elements(self.ops[i].outputs[0]) for i in cluster
        )
        work = StreamWork(
            reads=sum(self.graph.elements(name) for name in outer),
            writes=sum(self.graph.elements(name) for name in written),
            instructions=arithmetic + STREAM_INSTRUCTIONS * sum(sizes),
            int8_moved=self.int8_moved(cluster, written),
        )
        return Kernel(name=self._joined(cluster), kind="pointwise", work=work)

    def _stream(self, index: int, kind: KernelKind, *, reads: int, writes: int, per_element: int = 0) -> Kernel:
        instructions = per_element + STREAM_INSTRUCTIONS * (reads + writes)
        op = self.ops[index]
        moved = self.int8_moved([index], op.outputs[:1])
        work = StreamWork(reads=reads, writes=writes, instructions=instructions, int8_moved=min(moved, reads + writes))
        return Kernel(name=op.name, kind=kind, work=work)

    def _other_kernels(self, index: int) -> list[Kernel]:
        op = self.ops[index]
        reads = sum(self.graph.elements(name) for name in dict.fromkeys(self.activations(op)))
        writes = self.graph.elements(op.outputs[0])
        kind = op.op_type
        if kind in NORMS:
            return [self._norm_kernel([index])]
        if kind in REDUCTIONS:
            return [self._stream(index, "reduce", reads=reads, writes=writes)]
        if kind in SOFTMAXES:
            # maximum, exponential and sum, division: the row is walked three times
            return [self._stream(index, "softmax", reads=reads, writes=writes, per_element=20 * writes)]
        if kind in POOLS:
            window = math.prod(op.ints("kernel_shape", (op.integer("size", 1),)))
            return [self._stream(index, "pool", reads=reads, writes=writes, per_element=2 * window * writes)]
        if kind == "Transpose":
            return [self._stream(index, "shuffle", reads=writes, writes=writes)]
        if kind in MOVERS:
            return [self._stream(index, "copy", reads=min(reads, writes), writes=writes)]
        if kind == "Split":
            sizes = [self.graph.elements(name) for name in op.outputs if name]
            return [self._stream(index, "copy", reads=size, writes=size) for size in sizes]
        if kind == "Concat":
            return self._concat_kernels(index)
        if kind == "ConvTranspose":
            work = conv_transpose_work(self.graph, op, reads=reads, writes=writes)
            return [Kernel(name=op.name, kind="grouped_conv" if work.groups > 1 else "conv", work=work)]
        if kind in FOREIGN_QUANTISERS:
            raise NuwaError(
                f"{kind} ({op.name!r}) is no form of INT8 that TensorRT's parser takes",
                hint="quantise with QuantizeLinear and DequantizeLinear pairs (the QDQ format)",
            )
        raise NuwaError(
            f"operator {kind} ({op.name!r}) is not one that the time model can price",
            hint="export it as Conv, MatMul, Gemm, Softmax, reductions, pooling, shuffles and pointwise operators",
        )

    def _concat_kernels(self, index: int) -> list[Kernel]:
        """Copy what its producer cannot write in place: a tensor lives in one joined buffer only."""
        op = self.ops[index]
        axis = op.integer("axis", 0)
        shape = self.graph.shapes[op.outputs[0]]
        is_contiguous = math.prod(shape[: axis % len(shape)]) == 1
        copied = 0
        for name in op.inputs:
            real = self.real(name)
            if is_contiguous and real in self.producers and real not in self.in_place and real == name:
                self.in_place.add(real)
            else:
                copied += self.graph.elements(name)
        return [self._stream(index, "copy", reads=copied, writes=copied)] if copied else []
