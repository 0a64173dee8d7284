"""Notice a run that went wrong: numbers that are not finite, a loss that left its range, a collapse."""

import math
from collections.abc import Sequence

from nuwa_search.core.metric import METRIC_NAMES
from nuwa_search.deploy.train.score import SplitScore

WINDOW = 10
"""Steps a smoothed loss looks back; single batches of a small task are noisy."""
SPIKE_FACTOR = 3.0
"""A smoothed loss above this many times where it began has diverged."""
COLLAPSE_FRACTION = 0.5
"""A search accuracy below this fraction of the best so far has collapsed."""


def loss_problem(losses: Sequence[float], *, scale: float) -> str | None:
    """Return what is wrong with a run's losses, the last step's at the end; None if nothing is.

    Args:
        losses: One per step since the start.
        scale: Loss of a net that knows nothing, such as ln(num_classes): a run that begins with a
            tiny loss may pass it without having diverged.
    """
    if not losses:
        return None
    if not math.isfinite(losses[-1]):
        return f"loss is {losses[-1]}"
    if len(losses) < 2 * WINDOW:
        return None
    began, now = sum(losses[:WINDOW]) / WINDOW, sum(losses[-WINDOW:]) / WINDOW
    limit = SPIKE_FACTOR * max(began, scale)
    return f"loss rose to {now:.3g} from {began:.3g}" if now > limit else None


def score_problem(score: SplitScore, *, best: SplitScore | None) -> str | None:
    """Return what is wrong with an evaluation, against the best so far where there is one; None if nothing is."""
    if not math.isfinite(score.loss):
        return f"loss on the search split is {score.loss}"
    name, now = ("top1", score.top1) if score.top1 is not None else (METRIC_NAMES[score.metric], score.accuracy)
    before = 0.0 if best is None else best.accuracy if best.top1 is None else best.top1
    if now < COLLAPSE_FRACTION * before:
        return f"search {name} fell to {now:.3f} from {before:.3f}"
    return None
