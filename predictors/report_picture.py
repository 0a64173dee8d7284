"""Report cards as pictures: what is kept of the held-out nets beside a predictor, and drawn again from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.store.records import JsonDict, PredictorRecord

HELDOUT = "heldout"
"""Where a predictor's report keeps its held-out nets."""


def heldout_json(predictor: LatencyPredictor, heldout: Sequence[tuple[Arch, float]]) -> JsonDict:
    """Render held-out nets with their measured latency, prediction and interval, in ms, as columns.

    Args:
        predictor: Fitted to none of them.
        heldout: Nets with measured milliseconds.
    """
    prediction = predictor.predict([arch for arch, _ in heldout])
    return {
        "arch_id": [arch.arch_id for arch, _ in heldout],
        "measured_ms": [ms for _, ms in heldout],
        "predicted_ms": prediction.value.tolist(),
        "lower_ms": prediction.lower.tolist(),
        "upper_ms": prediction.upper.tolist(),
    }


def draw_report(spec: DeviceSpec, record: PredictorRecord, path: Path) -> None:
    """Draw predicted against measured latency of the nets that a predictor was never fitted to.

    Args:
        spec: Its device.
        record: The predictor with its report card.
        path: A ``.png``, ``.svg`` or ``.pdf`` file; folders are made.

    Raises:
        NuwaError: If no such nets were kept, or the path has another ending.
    """
    points = record.report.get(HELDOUT)
    if not points or not points["measured_ms"]:
        raise NuwaError(
            f"predictor {record.predictor_id} of {spec.name} has no held-out nets to draw",
            hint=f"nuwa profile {spec.name} measures some",
        )
    from nuwa_search.predictors.report_plot import plot_card

    value, lower, upper = (np.array(points[name]) for name in ("predicted_ms", "lower_ms", "upper_ms"))
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{spec.name}, {spec.provenance}"
    plot_card(record.report, Prediction(value, lower, upper), np.array(points["measured_ms"]), path, title=title)
