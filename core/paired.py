"""Whether two figures taken on the same images really differ."""

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
"""The ends of a 95 % interval then rest on 50 resamples each."""
LEAST_DIFFERENCE = 0.02
"""A relative difference below this is none for a user, whatever its sign."""


def bootstrap_interval(
    differences: npt.NDArray[np.float64], *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of per-image differences (N,).

    The same seed draws the same images, so an answer does not change from run to run (Efron, *Bootstrap methods*,
    1979; pairs are kept together because both figures are of the same images).
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[draws].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def is_equal(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Whether two per-image figures (N,) of the same images are equal within what these images can tell.

    Equal are figures whose mean difference has an interval that holds 0, and is below ``LEAST_DIFFERENCE`` of the
    smaller mean.
    """
    low, high = bootstrap_interval(one - other)
    smaller = min(float(one.mean()), float(other.mean()))
    return low <= 0 <= high and abs(float((one - other).mean())) <= LEAST_DIFFERENCE * abs(smaller)
