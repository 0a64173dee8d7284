"""Who reads and writes what in a graph, once nodes that move nothing are left out."""

from collections import defaultdict
from collections.abc import Sequence

from nuwa_search.latency.emulator.graph import Graph, Op
from nuwa_search.latency.emulator.operator_kinds import ALWAYS_VIEWS, MOVERS, QUANTISERS


class Wiring:
    """A graph without its views.

    QuantizeLinear and DequantizeLinear move nothing of their own: a tensor that is read through them moves as 8-bit
    integers.

    Args:
        graph: Composites expanded.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.alias: dict[str, str] = {}
        self.ops: list[Op] = []
        self.consumers: dict[str, list[int]] = defaultdict(list)
        self.producers: dict[str, int] = {}
        self.reads: dict[str, list[str]] = {}
        self.dequantised: set[str] = set()
        self.float_reads: set[str] = set()
        self.outputs: frozenset[str] = frozenset()

    def wire(self) -> None:
        """Leave the views out, and index who reads and writes what."""
        self._drop_views()
        self._index()

    def real(self, name: str) -> str:
        """Return the name of the tensor behind views."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def activations(self, op: Op) -> list[str]:
        """Tensors that ``op`` reads and that are not constant, views resolved."""
        known = self.reads.get(op.outputs[0])
        if known is not None:
            return known
        return [self.real(name) for name in op.inputs if name and name not in self.graph.constants]

    def elements(self, name: str) -> int:
        """Count the elements of a tensor."""
        return self.graph.elements(name)

    def _is_view(self, op: Op) -> bool:
        if op.op_type in ALWAYS_VIEWS or op.op_type in QUANTISERS:
            return True
        shapes = self.graph.shapes
        if op.op_type in MOVERS:
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
            if op.op_type == "DequantizeLinear":
                self.dequantised.add(op.outputs[0])
        for op in self.graph.ops:
            if op.outputs[0] not in self.alias:
                for name in self.activations(op):
                    readers[name].append(op)
        for op in self.graph.ops:
            if op.op_type == "Transpose" and op.outputs[0] not in self.alias and self._is_free(op, readers):
                self.alias[op.outputs[0]] = op.inputs[0]
        self.ops = [op for op in self.graph.ops if op.outputs[0] not in self.alias]

    def _is_free(self, op: Op, readers: dict[str, list[Op]]) -> bool:
        """Return whether a transpose costs nothing: read transposed by products, or merged into the next shuffle."""
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
        self.reads = {op.outputs[0]: self.activations(op) for op in self.ops}
        for i, op in enumerate(self.ops):
            for name in dict.fromkeys(self.activations(op)):
                self.consumers[name].append(i)
            for name in op.inputs if self.dequantised else ():
                if name and name not in self.graph.constants and not self.is_read_as_int8(name):
                    self.float_reads.add(self.real(name))
            for name in op.outputs:
                self.producers[name] = i
        self.outputs = frozenset(self.real(name) for name in self.graph.outputs)

    def is_read_as_int8(self, name: str) -> bool:
        """Return whether a tensor is read through a DequantizeLinear: its 8-bit integers are what is loaded."""
        while name not in self.dequantised:
            if name not in self.alias:
                return False
            name = self.alias[name]
        return True

    def is_written_as_int8(self, name: str) -> bool:
        """Return whether all who read a tensor read its 8-bit integers."""
        readers = self.consumers.get(name, ())
        return bool(readers) and name not in self.float_reads and name not in self.outputs

    def int8_moved(self, members: Sequence[int], written: Sequence[str]) -> int:
        """Count elements read and written as 8-bit integers by a kernel of ``members``."""
        if not self.dequantised:
            return 0
        inside = {name for i in members for name in self.ops[i].outputs}
        read = {
            self.real(name)
            for i in members
            for name in self.ops[i].inputs
            if name and name not in self.graph.constants and self.is_read_as_int8(name)
        }
        total = sum(self.graph.elements(name) for name in read - inside)
        return total + sum(self.graph.elements(name) for name in written if self.is_written_as_int8(name))

    def multiplies_int8(self, op: Op) -> bool:
        """Return whether every operand of a product that is no weight comes as 8-bit integers."""
        names = [name for name in op.inputs[:2] if name and name not in self.graph.constants]
        return bool(names) and all(self.is_read_as_int8(name) for name in names)
