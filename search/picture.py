"""Draw a study: every scored subnet, the front, the budget."""

from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.trials import StudyResult, TrialReport


def draw_front(result: StudyResult, path: Path, *, budget_ms: float | None, title: str = "") -> None:
    """Draw latency against KL; the format follows the file's suffix.

    Raises:
        NuwaError: If matplotlib is not installed, or knows no such format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:  # an optional extra
        raise NuwaError("drawing needs matplotlib", hint="pip install 'nuwa-search[plot]'") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*_points([t for t in result.trials if t.state == "scored"]), s=14, color="0.6", label="scored")
    axes.plot(*_points(result.front), marker="o", drawstyle="steps-post", label="front")
    if budget_ms is not None:
        axes.axvline(budget_ms, linestyle="--", color="0.3", label=f"budget {budget_ms:g} ms")
    axes.set(xlabel="predicted latency (ms)", ylabel="KL to the teacher, search split (nats)", title=title)
    axes.legend()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise NuwaError(f"cannot draw {path}: {error}", hint="use .png, .svg or .pdf") from error


def _points(trials: Sequence[TrialReport]) -> tuple[list[float], list[float]]:
    pairs = [(t.predicted_latency_ms, t.kl) for t in trials if t.kl is not None]
    return [ms for ms, _ in pairs], [kl for _, kl in pairs]
