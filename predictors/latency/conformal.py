"""Calibrated intervals from leave-one-out errors.

Fifty nets are too few to set some aside for calibration, so each is predicted by a model that did
not see it, and a quantile of the normalised errors gives the interval: the jackknife of Barber et
al., Predictive inference with the jackknife+ (arXiv 1905.02928), in its plain form; the models of
different folds hardly differ here, and one model is faster and easier to pin than fifty.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError

# No estimate of noise from a few repeats is good enough to take more than this off an interval: with 0.5
# profiles of the emulated Jetson Nano covered 88 % instead of 90 %.
_LEAST_SHARE = 0.65

Array = npt.NDArray[np.float64]


def conformal_quantile(scores: Array, *, coverage: float) -> float:
    """Return the score that covers a new one with probability ``coverage`` in finite samples.

    It is the k-th smallest with k = ceil((n + 1) · coverage). Where k exceeds n no finite score is
    guaranteed; the largest is then widened by (n + 1) / n.

    Args:
        scores: (n,) non-negative errors of nets that were not fitted to, n >= 1.
        coverage: A fraction.

    Raises:
        NuwaError: If there are no scores or the coverage is not between 0 and 1.
    """
    n = len(scores)
    if n == 0 or not 0 < coverage < 1:
        raise NuwaError(f"an interval needs scores and a coverage between 0 and 1, found {n} and {coverage}")
    rank = math.ceil((n + 1) * coverage)
    ordered = np.sort(scores)
    return float(ordered[rank - 1]) if rank <= n else float(ordered[-1]) * (n + 1) / n


def normal_half_width(coverage: float) -> float:
    """Half-width, in standard deviations, of the interval that covers a normal error this often."""
    return NormalDist().inv_cdf((1 + coverage) / 2)


def noise_share(scores_sd: float, *, noise_sd: float) -> float:
    """Return how much narrower an interval for the device's median is than one for a single noisy measurement.

    Args:
        scores_sd: Standard deviation of the leave-one-out errors, relative.
        noise_sd: That of the measurements they were taken against; 0 leaves the interval as it is.

    Returns:
        A factor between 0.65 and 1.
    """
    if scores_sd <= 0:
        return 1.0
    return max(_LEAST_SHARE, math.sqrt(max(0.0, 1 - (noise_sd / scores_sd) ** 2)))
