"""Element-wise operators: their price per element and the chains that run as one kernel."""

from collections.abc import Callable, Mapping, Sequence

from latency.emulator.graph import Op

# Instructions per element on Maxwell, from the throughput table of the CUDA C Programming Guide
# (section "Arithmetic Instructions", cc 5.3: 128 adds, 32 special functions per clock and SM) and the
# length of the usual expansion of each function.
_INSTRUCTIONS: Mapping[str, int] = {
    "Abs": 1,
    "Add": 1,
    "And": 1,
    "BatchNormalization": 1,
    "Ceil": 1,
    "Celu": 12,
    "Clip": 2,
    "Cos": 12,
    "Div": 8,
    "Elu": 12,
    "Equal": 1,
    "Erf": 20,
    "Exp": 6,
    "Floor": 1,
    "Gelu": 25,
    "Greater": 1,
    "GreaterOrEqual": 1,
    "HardSigmoid": 3,
    "HardSwish": 4,
    "LeakyRelu": 2,
    "Less": 1,
    "LessOrEqual": 1,
    "Log": 6,
    "Max": 1,
    "Min": 1,
    "Mish": 25,
    "Mul": 1,
    "Neg": 1,
    "Not": 1,
    "Or": 1,
    "PRelu": 2,
    "Pow": 12,
    "Reciprocal": 6,
    "Relu": 1,
    "Round": 1,
    "Selu": 12,
    "Sigmoid": 10,
    "Sign": 2,
    "Sin": 12,
    "Softplus": 14,
    "Softsign": 10,
    "Sqrt": 6,
    "Sub": 1,
    "Sum": 1,
    "Swish": 11,
    "Tanh": 10,
    "ThresholdedRelu": 2,
    "Where": 1,
}


def is_pointwise(op: Op) -> bool:
    """Say whether ``op`` works element by element, broadcasting included."""
    return op.op_type in _INSTRUCTIONS


def instructions_per_element(op: Op) -> int:
    """Price one element of a pointwise ``op`` in scalar instructions."""
    return _INSTRUCTIONS[op.op_type]


def pointwise_clusters(
    ops: Sequence[Op],
    *,
    free: Sequence[bool],
    inputs_of: Callable[[int], Sequence[str]],
    consumers: Mapping[str, Sequence[int]],
    producers: Mapping[str, int],
    graph_outputs: frozenset[str],
) -> list[list[int]]:
    """Group pointwise operators into the chains that run as one kernel.

    From the last operator to the first, an operator joins the chain that reads it if nothing else
    does, or if everything else that the chain reads is ready by then (the chain then writes this
    value out too). Reductions, products and data movement end a chain.

    Args:
        ops: Operators in execution order.
        free: Per operator, whether it is pointwise and not fused elsewhere already.
        inputs_of: Activations that operator ``i`` reads.
        consumers: Operators that read a tensor.
        producers: Operator that writes a tensor.
        graph_outputs: Tensors that leave the graph.

    Returns:
        Clusters of operator indices in ascending order.
    """
    cluster_of: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for i in range(len(ops) - 1, -1, -1):
        if not free[i]:
            continue
        readers = {r for name in ops[i].outputs for r in consumers.get(name, ())}
        leaves = any(name in graph_outputs for name in ops[i].outputs)
        clusters = {cluster_of[r] for r in readers if r in cluster_of}
        home = None
        if len(clusters) == 1 and not leaves and all(r in cluster_of for r in readers):
            home = next(iter(clusters))
        elif clusters:
            first = min(clusters, key=lambda c: members[c][-1])
            if _is_ready(members[first], before=i, inputs_of=inputs_of, producers=producers):
                home = first
        if home is None:
            home = i
            members[home] = []
        members[home].append(i)
        cluster_of[i] = home
    return [sorted(m) for m in members.values()]


def _is_ready(
    members: Sequence[int],
    *,
    before: int,
    inputs_of: Callable[[int], Sequence[str]],
    producers: Mapping[str, int],
) -> bool:
    """Say whether all that ``members`` read from outside is written by operator ``before`` or earlier."""
    inside = set(members)
    makers = (producers.get(name, -1) for m in members for name in inputs_of(m))
    return all(maker in inside or maker <= before for maker in makers)
