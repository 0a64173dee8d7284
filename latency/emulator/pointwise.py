"""Element-wise operators: their price per element and the chains that run as one kernel."""

from collections.abc import Mapping, Sequence

from nuwa_search.latency.emulator.graph import Op

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
    """Return whether ``op`` works element by element, broadcasting included."""
    return op.op_type in _INSTRUCTIONS


def instructions_per_element(op: Op) -> int:
    """Price one element of a pointwise ``op`` in scalar instructions."""
    return _INSTRUCTIONS[op.op_type]


def pointwise_clusters(
    ops: Sequence[Op],
    *,
    free: Sequence[bool],
    alone: Sequence[bool],
    consumers: Mapping[str, Sequence[int]],
    graph_outputs: frozenset[str],
) -> list[list[int]]:
    """Group pointwise operators into the chains that run as one kernel.

    From the last operator to the first, an operator joins the chain that reads it if nothing outside
    that chain does. Reductions, products and data movement end a chain.

    Args:
        ops: Operators in execution order.
        free: Per operator, whether it is pointwise and not fused elsewhere already.
        alone: Per operator, whether it is a kernel of its own whatever surrounds it.
        consumers: Operators that read a tensor.
        graph_outputs: Tensors that leave the graph.

    Returns:
        Clusters of operator indices in ascending order.
    """
    cluster_of: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for i in range(len(ops) - 1, -1, -1):
        if not free[i]:
            continue
        home = i
        if not alone[i] and not any(name in graph_outputs for name in ops[i].outputs):
            homes = {cluster_of.get(reader) for name in ops[i].outputs for reader in consumers.get(name, ())}
            only = homes.pop() if len(homes) == 1 else None
            home = i if only is None else only
        members.setdefault(home, []).append(i)
        if not alone[i]:
            cluster_of[i] = home
    return [sorted(m) for m in members.values()]
