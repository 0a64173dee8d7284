"""A picture of a report card: predicted against measured latency."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Prediction

Array = npt.NDArray[np.float64]

ENDINGS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, told apart by colour-blind readers too.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#999999"


def is_picture(path: Path) -> bool:
    """Whether a file's ending is that of a picture."""
    return path.suffix in ENDINGS


def check_picture(path: Path) -> None:
    """Refuse what cannot be drawn, before anything is measured for it.

    Raises:
        NuwaError: If the file's ending is none of ``ENDINGS``, or matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise NuwaError("drawing needs matplotlib", hint="pip install 'nuwa-search[plot]'")
    if not is_picture(path):
        raise NuwaError(f"a report card is drawn as {', '.join(ENDINGS)}, not {path.name}", hint="give -o card.png")


def plot_card(report: Mapping[str, Any], prediction: Prediction, measured_ms: Array, path: Path, *, title: str) -> None:
    """Draw held-out nets with their intervals, and the band within 5 %.

    Args:
        report: Its figures, as ``ReportCard.to_json`` gives them, are written into the picture.
        prediction: Predictions of the held-out nets.
        measured_ms: Their latencies, (n,).
        path: A ``.png``, ``.svg`` or ``.pdf`` file.
        title: Device and provenance.

    Raises:
        NuwaError: If the ending is another, or matplotlib is not installed.
    """
    check_picture(path)
    from matplotlib.figure import Figure  # takes long to load, and few commands draw

    figure = Figure(figsize=(6.0, 6.0), layout="constrained")
    axes = figure.subplots()
    ends = np.array([min(measured_ms.min(), prediction.lower.min()), max(measured_ms.max(), prediction.upper.max())])
    axes.fill_between(ends, 0.95 * ends, 1.05 * ends, color=_GREY, alpha=0.25, linewidth=0, label="within 5 %")
    axes.plot(ends, ends, color=_GREY, linewidth=1)
    is_inside = (prediction.lower <= measured_ms) & (measured_ms <= prediction.upper)
    for mask, colour, label in ((is_inside, _BLUE, "inside its interval"), (~is_inside, _ORANGE, "outside")):
        if mask.any():
            below, above = prediction.value - prediction.lower, prediction.upper - prediction.value
            axes.errorbar(
                measured_ms[mask],
                prediction.value[mask],
                yerr=np.stack([below[mask], above[mask]]),
                fmt="o",
                markersize=3,
                linewidth=0.8,
                color=colour,
                label=label,
            )
    axes.set_xlabel("measured latency in ms")
    axes.set_ylabel("predicted latency in ms")
    axes.set_title(f"{title}\n{_figures(report)}", fontsize=10)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)


def _figures(report: Mapping[str, Any]) -> str:
    parts = [f"{report['num_heldout']} unseen nets", f"error {report['mape']:.2%}"]
    parts.append(f"{report['interval_coverage']:.0%} inside the {report['nominal_coverage']:.0%} interval")
    if report["noise_floor_mape"] is not None:
        parts.append(f"noise floor {report['noise_floor_mape']:.2%}")
    return ", ".join(parts)
