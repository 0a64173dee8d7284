"""The file `trtexec --exportProfile` writes: time per layer, and what kind of layer it is."""

import json
import math
import re
from typing import Any

from nuwa_search.core.device import KernelTime
from nuwa_search.deploy.tensorrt.report import CutOffError

# Kind by what TensorRT puts into a layer's name, first match wins. Layers are named after the ONNX
# nodes they were fused from; PWN is a generated pointwise kernel, a ForeignNode a Myelin region.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("reformat", re.compile(r"reformat|CopyNode|copy_", re.IGNORECASE)),
    ("region", re.compile(r"ForeignNode|myln", re.IGNORECASE)),
    ("convolution", re.compile(r"conv", re.IGNORECASE)),
    ("matmul", re.compile(r"matmul|gemm|fc[_\d]|linear|einsum", re.IGNORECASE)),
    ("softmax", re.compile(r"softmax", re.IGNORECASE)),
    ("reduce", re.compile(r"reduce|layernorm|layer_norm|instancenorm", re.IGNORECASE)),
    ("pool", re.compile(r"pool", re.IGNORECASE)),
    ("shuffle", re.compile(r"shuffle|transpose|reshape|concat|slice|gather|split|squeeze|flatten", re.IGNORECASE)),
    ("pointwise", re.compile(r"PWN|elementwise|add|sub|mul|div|pow|sqrt|erf|relu|sigmoid|gelu|scale", re.IGNORECASE)),
)

# Percentages are printed with six digits and add up to 100 but for rounding.
_SUM_TOLERANCE = 0.5


def kernels_from_profile(text: str, *, median_ms: float) -> tuple[KernelTime, ...]:
    """Spread a measured median over the layers by their share of the profiled time.

    The profiler's own total is longer than the latency, because it waits after every layer, so its
    shares are used and not its times.

    Args:
        text: Content of the file.
        median_ms: Latency measured without the profiler, in milliseconds.

    Raises:
        CutOffError: If the file is not whole or contradicts itself.
    """
    layers = _layers(text)
    total = math.fsum(layer["timeMs"] for layer in layers)
    if total <= 0:
        raise CutOffError("the profile holds no time at all")
    if abs(math.fsum(layer["percentage"] for layer in layers) - 100) > _SUM_TOLERANCE:
        raise CutOffError("the shares in the profile do not add up to 100 %")
    return tuple(
        KernelTime(name=layer["name"], kind=layer_kind(layer["name"]), ms=median_ms * layer["timeMs"] / total)
        for layer in layers
    )


def layer_kind(name: str) -> str:
    """Name the kind of a TensorRT layer; ``other`` where its name does not tell."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "other")


def _layers(text: str) -> list[dict[str, Any]]:
    try:
        entries = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise CutOffError(f"the profile is not whole JSON: {error}") from error
    if not isinstance(entries, list) or len(entries) < 2 or not isinstance(entries[0], dict):
        raise CutOffError("the profile is not a list of a count and layers")
    count = entries[0].get("count")
    if not isinstance(count, int) or count < 1:
        raise CutOffError("the profile counts no inference")
    layers = entries[1:]
    for layer in layers:
        is_whole = isinstance(layer, dict) and isinstance(layer.get("name"), str)
        if not is_whole or not all(
            isinstance(layer.get(k), int | float) for k in ("timeMs", "averageMs", "percentage")
        ):
            raise CutOffError("a layer in the profile lacks its name or times")
        if layer["timeMs"] < 0 or layer["percentage"] < 0:
            raise CutOffError(f"the profile holds a negative time at layer {layer['name']!r}")
    return layers


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no time")
