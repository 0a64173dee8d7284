"""Operators by what kind of kernel they make."""

from nuwa_search.latency.emulator.graph import Graph

ALWAYS_VIEWS = frozenset({"Identity", "Dropout", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
# Views when they leave every element in place, kernels that move data otherwise.
MOVERS = frozenset({"Slice", "Pad", "Expand", "Tile", "Gather", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth"})
REDUCTIONS = frozenset(
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
SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
FOREIGN_QUANTISERS = frozenset({"DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})
NORMS = frozenset({"LayerNormalization", "RMSNormalization"})
# Scalar instructions per element of a fused normalisation: mean, deviation, square, scale and shift.
NORM_INSTRUCTIONS = 8
POOLS = frozenset({"MaxPool", "AveragePool", "LRN"})
FUSED_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
SCALES = frozenset({"BatchNormalization", "Mul", "Add", "Sub", "Div"})
# Loads, stores, address arithmetic and conversion per element and stream of a generated kernel.
STREAM_INSTRUCTIONS = 2


def has_quantisers(graph: Graph) -> bool:
    """Return whether activations go through QuantizeLinear nodes."""
    return any(op.op_type in QUANTISERS for op in graph.ops)
