"""What a TensorRT layer does, from the operators that it was fused from."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# Operators of ONNX, layer types of TensorRT (in brackets in its names) and what torch's exporters call
# nodes, by kind; where several were fused, the first kind here names the layer.
_OPERATORS: tuple[tuple[str, str], ...] = (
    ("convolution", "conv convtranspose convinteger qlinearconv convolution deconvolution conv1d conv2d conv3d"),
    ("matmul", "matmul gemm einsum matmulinteger qlinearmatmul matrixmultiply fullyconnected linear mm addmm bmm"),
    ("softmax", "softmax logsoftmax hardmax"),
    (
        "reduce",
        "reduce reducemean reducesum reducemax reducemin reduceprod reducel1 reducel2 reducesumsquare argmax argmin "
        "layernormalization layernorm instancenormalization groupnormalization normalization topk cumsum",
    ),
    ("pool", "pool pooling averagepool maxpool globalaveragepool globalmaxpool lppool"),
    (
        "shuffle",
        "shuffle reshape transpose concat concatenation slice gather gatherelements gathernd split squeeze unsqueeze "
        "flatten expand tile pad depthtospace spacetodepth broadcast shapeshuffle squeezetensor unsqueezetensor "
        "resize upsample view permute select cat",
    ),
    (
        "pointwise",
        "pwn elementwise unary activation scale add sub mul div pow sqrt reciprocal exp log erf relu leakyrelu prelu "
        "clip sigmoid tanh gelu hardswish hardsigmoid selu elu softplus swish mish silu neg abs min max sum mean where "
        "equal greater less and or not xor floor ceil round sign sin cos batchnormalization cast identity dropout "
        "quantizelinear dequantizelinear quantize dequantize",
    ),
)
_KIND = {operator: kind for kind, operators in _OPERATORS for operator in operators.split()}
_ORDER = [kind for kind, _ in _OPERATORS]

_COPY = re.compile(r"^Reformatting CopyNode |^reformat|\bCopyNode\b| copy$|^copy ", re.IGNORECASE)
_REGION = re.compile(r"^\{?ForeignNode\[|^__myl", re.IGNORECASE)
_UNNAMED = re.compile(r"^\(Unnamed Layer\* \d+\) \[([^\]]+)\]")
_FUSED = re.compile(r" \+ | \|\| |, ")
_COUNTER = re.compile(r"(?:[_:.]\d+)+$")


def operators_from_model(model: "onnx.ModelProto") -> dict[str, str]:
    """List the operator of each node by its name and by its outputs: TensorRT names layers after both."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        for name in (node.name, *node.output):
            if name:
                found[name] = node.op_type
    return found


def layer_kind(name: str, *, operators: Mapping[str, str] | None = None) -> str:
    """Name the kind of a TensorRT layer by its operators; ``other`` where it tells none.

    Layers are named after the ONNX nodes they were fused from; PWN is a generated pointwise kernel, a
    ForeignNode a region that Myelin compiled. Without ``operators`` the last part of a node's name is its
    operator, as torch's exporter writes it; the scopes before it are names of modules and say nothing.

    Args:
        name: As the profile gives it.
        operators: Operator by node name, from ``operators_from_model``.
    """
    if _COPY.search(name):
        return "reformat"
    if _REGION.search(name):
        return "region"
    if name.startswith("PWN("):
        return "pointwise"
    kinds = {_kind_of_part(part.strip(), operators or {}) for part in _FUSED.split(name)}
    return next((kind for kind in _ORDER if kind in kinds), "other")


def _kind_of_part(part: str, operators: Mapping[str, str]) -> str | None:
    if unnamed := _UNNAMED.match(part):
        return _KIND.get(unnamed[1].replace(" ", "").lower())
    known = operators.get(part) or operators.get(part.removeprefix("node_of_"))
    if known is None and part.startswith("PWN("):
        return "pointwise"
    token = known or _COUNTER.sub("", re.split(r"[/.]", part.strip("()"))[-1]).removeprefix("ONNXTRT_")
    # torch's newer exporter writes node_conv2d_3 and node_layer_norm_1.
    return _KIND.get(token.removeprefix("node_").replace("_", "").lower())
