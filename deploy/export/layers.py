"""Norms, activations and MLP as ONNX nodes, in the form each opset allows.

The stream is kept as (B · N, C), so that every projection is a two-dimensional Gemm: TensorRT 8 reads
those as fully connected layers with the bias inside.
"""

import numpy as np

from nuwa_search.core.arch import Activation, Arch
from nuwa_search.deploy.export.folded import FoldedMlp, is_stream_centred
from nuwa_search.deploy.export.opsets import GELU_NODE_OPSET, LAYER_NORM_OPSET
from nuwa_search.deploy.export.writer import GraphWriter

_MIN_EPS_FP16 = 2.0**-24
"""Smallest number above zero in FP16: a smaller epsilon would be 0 there, and an all-zero row 0/0."""

# Hendrycks and Gimpel, "Gaussian Error Linear Units" (arXiv 1606.08415): tanh(a x + b x³).
_TANH_LINEAR = (2 / np.pi) ** 0.5
_TANH_CUBIC = 0.044715 * _TANH_LINEAR


def write_norm(g: GraphWriter, x: str, arch: Arch, name: str, *, stream_scale: float) -> str:
    """Normalise the rows of (rows, C) without scale and shift: those are folded into the next layer.

    The decomposed form skips the mean where the stream is centred already. It is safe in FP16 because
    the stream comes scaled by ``stream_scale`` before it is squared, and epsilon with it.

    Args:
        g: Writer of the graph.
        x: Name of the tensor (rows, C).
        arch: Shape of the model: kind of norm, epsilon, width C.
        name: Name of the result, and prefix of the nodes.
        stream_scale: Power of two that multiplies the residual stream.

    Returns:
        Name of the normalised tensor (rows, C).
    """
    eps = arch.norm_eps * stream_scale**2
    if g.opset >= LAYER_NORM_OPSET and arch.norm == "layernorm":
        return g.node("LayerNormalization", [x, g.ones(arch.embed_dim)], name, axis=-1, epsilon=eps)
    if arch.norm == "layernorm" and not is_stream_centred(arch):
        x = write_centring(g, x, name)
    if g.dtype is np.float16:
        eps = max(eps, _MIN_EPS_FP16)
    square = g.node("Mul", [x, x], f"{name}.square")
    mean = g.mean(square, -1, f"{name}.mean_square", keepdims=True)
    rms = g.node("Sqrt", [g.node("Add", [mean, g.scalar(eps)], f"{name}.eps")], f"{name}.rms")
    return g.node("Div", [x, rms], name)


def write_centring(g: GraphWriter, x: str, name: str) -> str:
    """Subtract the mean over channels from (rows, C)."""
    return g.node("Sub", [x, g.mean(x, -1, f"{name}.mean", keepdims=True)], f"{name}.centred")


def write_act(g: GraphWriter, x: str, act: Activation, name: str) -> str:
    """Write the activation, without the constants that ``act_scales`` moved into fc1 and fc2.

    Args:
        g: Writer of the graph.
        x: Name of the tensor (rows, hidden).
        act: Which activation.
        name: Prefix of the nodes.

    Returns:
        Name of the result (rows, hidden).
    """
    has_node = g.opset >= GELU_NODE_OPSET
    match act:
        case "relu":
            return g.node("Relu", [x], name)
        case "quick_gelu":
            return g.node("Mul", [x, g.node("Sigmoid", [x], f"{name}.sigmoid")], name)
        case "gelu" | "gelu_tanh" if has_node:
            return g.node("Gelu", [x], name, approximate="tanh" if act == "gelu_tanh" else "none")
        case "gelu":
            gate = g.node("Erf", [x], f"{name}.erf")
        case "gelu_tanh":
            # a + b x² before the product with x: x³ would overflow FP16 beyond 40, x² only where tanh is 1.
            square = g.node("Mul", [x, x], f"{name}.square")
            cubic = g.node("Mul", [square, g.scalar(_TANH_CUBIC)], f"{name}.cubic")
            slope = g.node("Add", [cubic, g.scalar(_TANH_LINEAR)], f"{name}.slope")
            gate = g.node("Tanh", [g.node("Mul", [x, slope], f"{name}.argument")], f"{name}.tanh")
    return g.node("Add", [x, g.node("Mul", [x, gate], f"{name}.gated")], name)


def write_mlp(g: GraphWriter, x: str, mlp: FoldedMlp, act: Activation, name: str) -> str:
    """Write fc1, activation, fc2 over (rows, C).

    Args:
        g: Writer of the graph.
        x: Name of the normalised tensor (rows, C).
        mlp: Weights and biases.
        act: Which activation.
        name: Prefix of the nodes.

    Returns:
        Name of the result (rows, C), without the residual sum.
    """
    hidden = g.linear(x, mlp.fc1_weight, mlp.fc1_bias, f"{name}.fc1")
    return g.linear(write_act(g, hidden, act, f"{name}.act"), mlp.fc2_weight, mlp.fc2_bias, f"{name}.fc2")
