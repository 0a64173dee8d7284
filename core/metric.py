"""By which accuracy heads, scores and winners are chosen."""

from typing import Literal, get_args

from nuwa_search.core.suggest import unknown_name

Metric = Literal["top1", "balanced"]
"""Share of the images answered right, or mean recall over the classes: then ten cracked parts among a thousand good
ones count as much as the thousand."""
METRICS: tuple[Metric, ...] = get_args(Metric)
METRIC_NAMES: dict[Metric, str] = {"top1": "top1", "balanced": "balanced accuracy"}
"""As sentences say them."""


def metric_from_text(text: object) -> Metric:
    """Read a metric's name.

    Raises:
        NuwaError: If it is unknown.
    """
    for metric in METRICS:
        if text == metric:
            return metric
    raise unknown_name("metric", str(text), METRICS)
