"""The file `trtexec --exportProfile` writes: time per layer, and what kind of layer it is."""

import math
import re
from typing import NamedTuple

from nuwa_search.core import checked
from nuwa_search.core.device import KernelTime
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError
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
_MAX_MS = 1e12  # thirty years: a time beyond it is no time, and sums of it are still finite


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
    total = math.fsum(layer.time_ms for layer in layers)
    if total <= 0:
        raise CutOffError("the profile holds no time at all")
    if abs(math.fsum(layer.percentage for layer in layers) - 100) > _SUM_TOLERANCE:
        raise CutOffError("the shares in the profile do not add up to 100 %")
    return tuple(
        KernelTime(name=layer.name, kind=layer_kind(layer.name), ms=median_ms * layer.time_ms / total)
        for layer in layers
    )


def layer_kind(name: str) -> str:
    """Name the kind of a TensorRT layer; ``other`` where its name does not tell."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "other")


class _Layer(NamedTuple):
    name: str
    time_ms: float
    percentage: float


def _layers(text: str) -> list[_Layer]:
    try:
        entries = checked.items(json_from_text(text, what="the profile"), "the profile", min_items=2)
        head = checked.mapping(entries[0], "its first entry")
        checked.integer(head.get("count"), "the count of inferences", low=1)
        return [_layer(entry) for entry in entries[1:]]
    except NuwaError as error:
        raise CutOffError(f"the profile is not whole: {error.message}") from error


def _layer(values: object) -> _Layer:
    found = checked.mapping(values, "a layer")
    name = checked.text(found.get("name"), "the name of a layer")
    time_ms, _, percentage = (
        checked.finite(found.get(key), f"{key} of layer {checked.shown(name)}", low=0, high=_MAX_MS)
        for key in ("timeMs", "averageMs", "percentage")
    )
    return _Layer(name, time_ms, percentage)
