"""What each step of a search did to a net that answers for pixels: accuracy beside latency, size and memory."""

from dataclasses import dataclass
from typing import Literal

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import Measurement, Precision
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.tasks.pixel_scores import PixelScores

BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
"""Of a weight as the device holds it."""


@dataclass(frozen=True, kw_only=True)
class Step(JsonFields):
    """One row of the table.

    Args:
        step: ``base`` with its fitted head, ``derived`` from it, or ``distilled`` from it, as it is shipped.
        miou: On the test split.
        miou_interval: 95 %.
        latency_ms: On the device, the median; ``provenance`` says whether it was measured there.
        provenance: Of the latency.
        size_mb: Weights in the device's precision, in MB of 10^6 bytes.
        peak_memory_mb: On the device; None where it does not tell.
    """

    step: Literal["base", "derived", "distilled"]
    miou: float
    miou_interval: tuple[float, float]
    latency_ms: float
    provenance: str
    size_mb: float
    peak_memory_mb: float | None


def step_of(
    name: Literal["base", "derived", "distilled"], scores: PixelScores, measurement: Measurement, *, arch: Arch
) -> Step:
    """Make a row.

    Args:
        name: Of the step.
        scores: On the test split.
        measurement: Of a graph of that shape; training changes no latency.
        arch: Of the net, with the task's head.
    """
    return Step(
        step=name,
        miou=scores.miou,
        miou_interval=scores.miou_interval,
        latency_ms=measurement.latency_ms.median,
        provenance=measurement.provenance,
        size_mb=count_params(arch) * BYTES[measurement.device.precision] / 1e6,
        peak_memory_mb=measurement.peak_memory_mb,
    )
