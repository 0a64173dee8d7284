"""ONNX operators that the parser of each TensorRT release takes.

Source: ``docs/operators.md`` of onnx/onnx-tensorrt (the tables of 8.4, 8.5 and 10.15) and, for the
releases between, its ``docs/Changelog.md``. What neither names for a release is left out, so a model
may be refused that a release in between would take, never the other way round.
"""

from nuwa_search.deploy.tensorrt.version import TrtVersion

_SINCE_8_0 = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Elu
Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GRU HardSigmoid Identity If ImageScaler InstanceNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg NonMaxSuppression Not Or Pad
ParametricSoftplus Pow PRelu QuantizeLinear RandomUniform RandomUniformLike Range ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
ReverseSequence RNN ScaledTanh Scan Selu Shape Sigmoid Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where
"""

_ADDED: tuple[tuple[tuple[int, int], str], ...] = (
    ((8, 2), "Einsum GatherND IsNaN Round Scatter ScatterElements ScatterND Sign"),
    ((8, 4), "Shrink Xor"),
    (
        (8, 5),
        "GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike Reciprocal "
        "RoiAlign Trilu",
    ),
    ((8, 6), "GroupNormalization IsInf LayerNormalization"),
    ((9, 2), "Hardmax"),
    ((10, 1), "DeformConv"),
    ((10, 4), "BlackmanWindow HammingWindow HannWindow"),
    ((10, 5), "STFT"),
    ((10, 15), "Attention CastLike Gelu Mish RMSNormalization RotaryEmbedding TensorScatter"),
)


def parser_operators(version: TrtVersion) -> frozenset[str]:
    """Name the operators of the default domain that the parser of ``version`` takes."""
    names = _SINCE_8_0.split()
    for release, added in _ADDED:
        if version.release >= release:
            names += added.split()
    return frozenset(names)


def operator_since(name: str) -> str | None:
    """Name the first release whose list holds an operator, such as ``8.6``; None where none does."""
    if name in _SINCE_8_0.split():
        return "8.0"
    return next((f"{major}.{minor}" for (major, minor), added in _ADDED if name in added.split()), None)
