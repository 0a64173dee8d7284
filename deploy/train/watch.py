"""Notice a run that went wrong: numbers that are not finite, a loss that left its range, a collapse."""

import math
from collections.abc import Sequence

WINDOW = 10
"""Steps a smoothed loss looks back; single batches of a small task are noisy."""
SPIKE_FACTOR = 3.0
"""A smoothed loss above this many times where it began has diverged."""
COLLAPSE_FRACTION = 0.5
"""A search accuracy below this fraction of the best so far has collapsed."""


def loss_problem(losses: Sequence[float], *, scale: float) -> str | None:
    """Say what is wrong with a run's losses, the last step's at the end; None if nothing is.

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


def score_problem(top1: float, loss: float, *, best_top1: float) -> str | None:
    """Say what is wrong with an evaluation; None if nothing is."""
    if not math.isfinite(loss):
        return f"loss on the search split is {loss}"
    if top1 < COLLAPSE_FRACTION * best_top1:
        return f"search top1 fell to {top1:.3f} from {best_top1:.3f}"
    return None
