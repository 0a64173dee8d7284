"""By which accuracy heads, scores and winners are chosen."""

from typing import Literal, get_args

from nuwa_search.core.suggest import unknown_name

Metric = Literal["top1", "balanced", "miou"]
"""Share of the images answered right, or mean recall over the classes: then ten cracked parts among a thousand good
ones count as much as the thousand. ``miou`` is that of segmentation: mean over the classes of the pixels that answer
and truth share, over those that either has."""
METRICS: tuple[Metric, ...] = ("top1", "balanced")
"""What may be asked for; mIoU follows from the data."""
METRIC_NAMES: dict[Metric, str] = {"top1": "top1", "balanced": "balanced accuracy", "miou": "mIoU"}
"""As sentences say them."""


def metric_from_text(text: object) -> Metric:
    """Read a metric's name.

    Raises:
        NuwaError: If it is unknown.
    """
    known: tuple[Metric, ...] = get_args(Metric)
    for metric in known:
        if text == metric:
            return metric
    raise unknown_name("metric", str(text), known)
