"""Accept a quantised model only where it is measured faster on the device itself."""

from dataclasses import dataclass

import numpy as np
import onnx

from nuwa_search.core.device import Device, Measurement, MeasureProtocol
from nuwa_search.core.metric import METRIC_NAMES, Metric
from nuwa_search.deploy.quantise.mixed import MixedModel

ROUNDS = 3
"""FP32 and INT8 are measured in turns this often, so that a slow drift of clocks hits both."""


@dataclass(frozen=True)
class Int8Decision:
    """Whether INT8 is used, and why.

    Args:
        is_accepted: Whether INT8 is used.
        reason: Why, in one sentence.
        before: Last measurement of the model before.
        after: Last measurement of the quantised model; None where there is none to measure.
        ratio: Median over rounds of quantised over unquantised latency; None without a measurement.
    """

    is_accepted: bool
    reason: str
    before: Measurement
    after: Measurement | None
    ratio: float | None


def decide_int8(
    exported: onnx.ModelProto,
    quantised: MixedModel | None,
    device: Device,
    *,
    max_loss: float,
    metric: Metric = "top1",
    int8_device: Device | None = None,
    protocol: MeasureProtocol | None = None,
) -> Int8Decision:
    """Measure both models on the device in turns and decide.

    Args:
        exported: The model before.
        quantised: What ``quantise_mixed`` found; None where accuracy ruled INT8 out.
        device: Where the model will run.
        max_loss: The limit that ``quantise_mixed`` kept, for the reason.
        metric: Which accuracy it was about, for the reason.
        int8_device: The same board told to build INT8, where a device is of one precision; None where
            ``device`` runs any graph.
        protocol: How to measure; the device's own by default.

    Raises:
        NuwaError: If the device cannot take one of the models.
        OutsideError: If the device failed.
    """
    if quantised is None:
        before = device.measure(exported, protocol=protocol)
        reason = f"no block can be INT8 with a loss of at most {100 * max_loss:.1f} points of {METRIC_NAMES[metric]}"
        return Int8Decision(False, reason, before, None, None)
    other = int8_device or device
    pairs = [
        (device.measure(exported, protocol=protocol), other.measure(quantised.model, protocol=protocol))
        for _ in range(ROUNDS)
    ]
    ratios = [after.latency_ms.median / before.latency_ms.median for before, after in pairs]
    ratio = float(np.median(ratios))
    before, after = pairs[-1]
    loss = 100 * quantised.loss
    accuracy = f"{abs(loss):.1f} points of {METRIC_NAMES[quantised.metric]} {'gained' if loss < 0 else 'lost'}"
    said = f"{ratio:.2f}× the latency on {device.spec.name}, {accuracy}"
    if quantised.float_blocks:
        said += f", blocks {', '.join(map(str, quantised.float_blocks))} of the graph left in FP32"
    # Every round must agree: a gain that comes and goes is noise.
    is_faster = max(ratios) < 1.0
    return Int8Decision(is_faster, f"INT8 {'is' if is_faster else 'is not'} faster: {said}", before, after, ratio)
