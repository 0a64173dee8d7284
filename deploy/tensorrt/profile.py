"""The file `trtexec --exportProfile` writes: time per layer, and what kind of layer it is."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from nuwa_search.core import checked
from nuwa_search.core.device import KernelTime
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.json_stream import list_entries
from nuwa_search.deploy.tensorrt.layer_kind import layer_kind
from nuwa_search.deploy.tensorrt.log_source import LogSource
from nuwa_search.deploy.tensorrt.report import CutOffError

# Percentages are printed with six digits and add up to 100 but for rounding.
_SUM_TOLERANCE = 0.5
_MAX_LAYERS = 100_000  # the largest ViTs have a few thousand kernels
_MAX_MS = 1e12  # thirty years: a time beyond it is no time, and sums of it are still finite


def kernels_from_profile(
    source: LogSource, *, median_ms: float, operators: Mapping[str, str] | None = None
) -> tuple[KernelTime, ...]:
    """Spread a measured median over the layers by their share of the profiled time.

    The profiler's own total is longer than the latency, because it waits after every layer, so its
    shares are used and not its times.

    Args:
        source: Content of the file, or the file.
        median_ms: Latency measured without the profiler, in milliseconds.
        operators: Operator by node name, where the model is at hand; see ``layer_kind``.

    Raises:
        CutOffError: If the file is not whole or contradicts itself.
    """
    layers = _layers(source)
    total = math.fsum(layer.time_ms for layer in layers)
    if total <= 0:
        raise CutOffError("the profile holds no time at all")
    if abs(math.fsum(layer.percentage for layer in layers) - 100) > _SUM_TOLERANCE:
        raise CutOffError("the shares in the profile do not add up to 100 %")
    return tuple(
        KernelTime(
            name=layer.name,
            kind=layer_kind(layer.name, operators=operators),
            ms=median_ms * layer.time_ms / total,
        )
        for layer in layers
    )


class _Layer(NamedTuple):
    name: str
    time_ms: float
    percentage: float


def _layers(source: LogSource) -> list[_Layer]:
    try:
        entries = list_entries(source, what="the profile", max_entries=_MAX_LAYERS + 1)
        head = checked.mapping(next(entries, None), "its first entry")
        checked.integer(head.get("count"), "the count of inferences", low=1)
        return [_layer(entry) for entry in entries]
    except CutOffError:
        raise
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
