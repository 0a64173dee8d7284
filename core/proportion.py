"""The interval of a share that was counted, such as an accuracy, and how both are said."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from nuwa_search.core.errors import NuwaError

CONFIDENCE = 0.95
"""Of every interval beside an accuracy."""


def wilson_interval(num_hits: int, num: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval (low, high) of a share, as fractions in 0..1.

    Wilson's score interval: it holds for shares near 0 and 1 and for few counts, where the usual
    plus-minus gives a point or leaves the range (Wilson, *Probable inference, the law of succession, and
    statistical inference*, 1927). Nothing counted gives (0, 1).

    Args:
        num_hits: Counted hits.
        num: Of so many.
        confidence: Share of such intervals that hold the truth.

    Raises:
        NuwaError: If there are fewer than 0 hits, more than ``num``, or the confidence is not within 0..1.
    """
    if not 0 <= num_hits <= num:
        raise NuwaError(f"a share of {num_hits} in {num} is none")
    if not 0 < confidence < 1:
        raise NuwaError(f"a confidence lies between 0 and 1, found {confidence}")
    if num == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = num_hits / num
    middle = share + z * z / (2 * num)
    reach = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    scale = 1 + z * z / num
    # At 0 and at 1 the bound is exact, and rounding must not leave it a digit away.
    low = 0.0 if num_hits == 0 else (middle - reach) / scale
    high = 1.0 if num_hits == num else (middle + reach) / scale
    return low, high


def mean_share_interval(hits: Sequence[int], counts: Sequence[int]) -> tuple[float, float]:
    """Return the interval (low, high) of the mean of shares that were counted apart, such as recalls by class.

    The shares' Wilson intervals are combined as independent terms of a mean (method of variance estimates
    recovery; Zou & Donner, *Construction of confidence limits about effect measures*, 2008).

    Args:
        hits: Counted hits of each.
        counts: Of so many; those of nothing take no part.
    """
    rows = [(hit, count) for hit, count in zip(hits, counts, strict=True) if count]
    if not rows:
        return 0.0, 1.0
    down = up = 0.0
    for hit, count in rows:
        low, high = wilson_interval(hit, count)
        down += (hit / count - low) ** 2
        up += (high - hit / count) ** 2
    middle = sum(hit / count for hit, count in rows) / len(rows)
    return max(0.0, middle - math.sqrt(down) / len(rows)), min(1.0, middle + math.sqrt(up) / len(rows))


def said_share(share: float, interval: Sequence[float], num_images: int) -> str:
    """Say an accuracy: ``93.1 % (90.2-95.4, 256 images)``."""
    low, high = interval
    return f"{100 * share:.1f} % ({100 * low:.1f}-{100 * high:.1f}, {num_images} images)"


def interval_of_share(share: float | None, num_images: int | None) -> list[float] | None:
    """Return the 95 % interval (Wilson) of a stored share of so many images, for JSON; None where one is not known."""
    if share is None or not num_images:
        return None
    return list(wilson_interval(min(num_images, max(0, round(share * num_images))), num_images))
