"""Draw a study: every scored subnet, the front, the budget, and how sure the accuracies on it are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.search.trials import StudyResult, TrialReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_front(result: StudyResult, path: Path, *, budget_ms: float | None, title: str = "") -> None:
    """Draw latency against KL, and below it against top1 with 95 % intervals; the format follows the file's suffix.

    Args:
        result: Study with its scored subnets and front.
        path: File to write: .png, .svg or .pdf.
        budget_ms: Latency budget in milliseconds, drawn as a line; None draws no line.
        title: Title above the picture.

    Raises:
        NuwaError: If matplotlib is not installed, or knows no such format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:  # an optional extra
        raise NuwaError("drawing needs matplotlib", hint="pip install 'nuwa-search[plot]'") from error
    figure = Figure(figsize=(7, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.scatter(*_points([t for t in result.trials if t.state == "scored"]), s=14, color="0.6", label="scored")
    above.plot(*_points(result.front), marker="o", drawstyle="steps-post", label="front")
    _draw_accuracies(below, result.front)
    for axes in (above, below):
        if budget_ms is not None:
            axes.axvline(budget_ms, linestyle="--", color="0.3", label=f"budget {budget_ms:g} ms")
        axes.legend()
    above.set(ylabel="KL to the teacher, search split (nats)", title=title)
    below.set(xlabel="predicted latency (ms)", ylabel="top1, search split (%)")
    try:
        figure.savefig(path)
    except ValueError as error:
        raise NuwaError(f"cannot draw {path}: {error}", hint="use .png, .svg or .pdf") from error


def _draw_accuracies(axes: "Axes", front: Sequence[TrialReport]) -> None:
    """Draw the front's top1, each with its interval as an error bar; the legend says of how many images."""
    rows = [(t, t.top1_search, interval_of_share(t.top1_search, t.num_images)) for t in front]
    known = [(t, 100 * top1, ends) for t, top1, ends in rows if top1 is not None and ends is not None]
    if not known:
        return
    counts = sorted({t.num_images for t, _, _ in known})
    num_images = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    axes.errorbar(
        [t.predicted_latency_ms for t, _, _ in known],
        [top1 for _, top1, _ in known],
        yerr=[[top1 - 100 * ends[0] for _, top1, ends in known], [100 * ends[1] - top1 for _, top1, ends in known]],
        fmt="o",
        capsize=3,
        label=f"front, 95 % of {num_images} images",
    )


def _points(trials: Sequence[TrialReport]) -> tuple[list[float], list[float]]:
    pairs = [(t.predicted_latency_ms, t.kl) for t in trials if t.kl is not None]
    return [ms for ms, _ in pairs], [kl for _, kl in pairs]
