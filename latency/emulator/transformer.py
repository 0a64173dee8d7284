"""Attention and layer normalisation found in primitives, for releases that have one kernel for each."""

from dataclasses import dataclass

from nuwa_search.latency.emulator.wiring import Wiring

# What may stand between the first product and the softmax: scale, mask.
_SCORE_OPS = frozenset({"Mul", "Div", "Add", "Where"})
# Operators that only place elements: a fused kernel reads its operands where they lie.
_PLACERS = frozenset({"Transpose", "Slice", "Gather", "Split"})
# What a decomposed layer normalisation is made of.
_NORM_OPS = frozenset({"ReduceMean", "Sub", "Pow", "Mul", "Add", "Sqrt", "Div", "Reciprocal"})


@dataclass(frozen=True)
class AttentionNodes:
    """Operators of one attention, and the two products in it.

    Args:
        scores: Index of QKᵀ.
        values: Index of the product with V.
        members: All operators that run in the kernel, these two among them.
    """

    scores: int
    values: int
    members: frozenset[int]


def find_attentions(wiring: Wiring) -> list[AttentionNodes]:
    """Find product, scale, mask, softmax and product, with what only places their operands."""
    found = []
    for index, op in enumerate(wiring.ops):
        if op.op_type != "Softmax":
            continue
        scores, between = _first_product(wiring, index)
        values = _only_reader(wiring, index)
        if scores is None or values is None or wiring.ops[values].op_type != "MatMul":
            continue
        names = wiring.activations(wiring.ops[values])
        if len(names) != 2 or wiring.producers.get(names[0]) != index:
            continue
        members = {index, scores, values, *between}
        _take_placers(wiring, members)
        found.append(AttentionNodes(scores, values, frozenset(members)))
    return found


def _only_reader(wiring: Wiring, index: int) -> int | None:
    readers = {r for name in wiring.ops[index].outputs for r in wiring.consumers.get(name, ())}
    is_output = any(name in wiring.outputs for name in wiring.ops[index].outputs)
    return readers.pop() if len(readers) == 1 and not is_output else None


def _first_product(wiring: Wiring, softmax: int) -> tuple[int | None, list[int]]:
    """Walk from a softmax back to the product of two activations that it normalises."""
    between: list[int] = []
    size = wiring.elements(wiring.ops[softmax].outputs[0])
    reader = softmax
    while True:
        makers = [
            wiring.producers[name]
            for name in wiring.activations(wiring.ops[reader])
            if name in wiring.producers and wiring.elements(name) == size
        ]
        makers = [m for m in makers if _only_reader(wiring, m) == reader]
        if len(makers) != 1:
            return None, []
        op = wiring.ops[makers[0]]
        if op.op_type == "MatMul":
            return (makers[0], between) if len(wiring.activations(op)) == 2 else (None, [])
        if op.op_type not in _SCORE_OPS:
            return None, []
        between.append(makers[0])
        reader = makers[0]


def _take_placers(wiring: Wiring, members: set[int]) -> None:
    """Take in shuffles, slices and scales of the operands, and the shuffle of the answer."""
    waiting = list(members)
    while waiting:
        for name in wiring.activations(wiring.ops[waiting.pop()]):
            maker = wiring.producers.get(name)
            if maker is None or maker in members:
                continue
            op = wiring.ops[maker]
            is_scale = op.op_type in ("Mul", "Div") and len(wiring.activations(op)) == 1
            if not (op.op_type in _PLACERS or is_scale) or any(out in wiring.outputs for out in op.outputs):
                continue
            if all(reader in members for out in op.outputs for reader in wiring.consumers.get(out, ())):
                members.add(maker)
                waiting.append(maker)
                waiting.extend(members)  # a slice of all three is free once the last of them is in
    last = max(members)
    after = _only_reader(wiring, last)
    if after is not None and wiring.ops[after].op_type == "Transpose":
        members.add(after)


def find_norms(wiring: Wiring) -> list[frozenset[int]]:
    """Find decomposed layer normalisations: everything between a mean and the one tensor that leaves."""
    found: list[frozenset[int]] = []
    taken: set[int] = set()
    for index, op in enumerate(wiring.ops):
        if op.op_type != "ReduceMean" or index in taken:
            continue
        source = wiring.activations(op)[0]
        members = _norm_members(wiring, source, index)
        kinds = [wiring.ops[m].op_type for m in members]
        leaving = _leaving(wiring, members)
        is_norm = "Sub" in kinds and kinds.count("ReduceMean") == 2 and "Sqrt" in kinds and len(leaving) == 1
        if is_norm and wiring.elements(leaving[0]) == wiring.elements(source):
            found.append(frozenset(members))
            taken |= members
    return found


def _norm_members(wiring: Wiring, source: str, first: int) -> set[int]:
    """Take in, in order, every operator that reads the source and what is in already, and nothing else."""
    inside = {source, *wiring.ops[first].outputs}
    members = {first}
    for index in range(first + 1, len(wiring.ops)):
        op = wiring.ops[index]
        names = wiring.activations(op)
        has_inner = any(name in inside and name != source for name in names)
        if op.op_type in _NORM_OPS and has_inner and all(name in inside for name in names):
            members.add(index)
            inside.update(op.outputs)
    return members


def _leaving(wiring: Wiring, members: set[int]) -> list[str]:
    """Tensors that something outside reads."""
    return [
        name
        for index in sorted(members)
        for name in wiring.ops[index].outputs
        if name in wiring.outputs or any(reader not in members for reader in wiring.consumers.get(name, ()))
    ]
