"""Interpolate measured rows: a non-negative sum of tile-counted work, and a Gaussian process on top.

The mean keeps the staircases between measured widths; the process pulls the curve through the rows
as far as their noise allows and says how far it trusts itself in between (Rasmussen and Williams,
Gaussian Processes for Machine Learning, algorithm 2.1). Exponential kernel: steps are not smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

Array = npt.NDArray[np.float64]
Features = Callable[[Array], Array]

# Candidates for the size of what the mean misses (relative) and for how far it reaches (octaves of
# width); the marginal likelihood of the rows chooses.
AMPLITUDES = (0.01, 0.03, 0.1, 0.3)
REACHES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Rows repeat to about this much even where their chains agreed by luck.
FLOOR_RELATIVE_SD = 0.002


@dataclass(frozen=True)
class Surface:
    """A fitted curve over widths, in milliseconds.

    Args:
        features: Non-negative work features of points (n, k) -> (n, f).
        coordinates: Place of points for interpolation, (n, k) -> (n, c).
        coefficients: (f,) milliseconds per feature.
        places: (m, c) coordinates of the rows.
        weights: (m,) of the process.
        factor: (m, m) lower Cholesky factor of the rows' covariance.
        amplitude: Size of what the mean misses, relative.
        reach: Its reach in octaves.
    """

    features: Features
    coordinates: Features
    coefficients: Array
    places: Array
    weights: Array
    factor: Array
    amplitude: float
    reach: float

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Predict points (n, k).

        Returns:
            Milliseconds (n,) and their standard error in milliseconds (n,).
        """
        mean = self.features(points) @ self.coefficients
        cross = _kernel(self.coordinates(points), self.places, amplitude=self.amplitude, reach=self.reach)
        half = solve_triangular(self.factor, cross.T, lower=True)
        variance = np.maximum(self.amplitude**2 - np.sum(half**2, axis=0), 0.0)
        value = mean * (1 + cross @ self.weights)
        return np.maximum(value, 0.0), np.asarray(mean * np.sqrt(variance), dtype=np.float64)

    def misses(self) -> Array:
        """Return how far each row lies from what the others predict for it, in standard errors, (m,).

        Leave-one-out residuals in closed form (Rasmussen and Williams, equation 5.12).
        """
        precision = cho_solve((self.factor, True), np.eye(len(self.weights)))
        return np.asarray(np.abs(self.weights) / np.sqrt(np.diag(precision)), dtype=np.float64)


def fit_surface(
    points: Array, latencies_ms: Array, sds_ms: Array, *, features: Features, coordinates: Features
) -> Surface:
    """Fit a surface to measured rows.

    Args:
        points: (m, k) widths, m >= 1.
        latencies_ms: (m,) milliseconds, positive.
        sds_ms: (m,) standard errors.
        features: See ``Surface``.
        coordinates: See ``Surface``.
    """
    relative = np.maximum(sds_ms / latencies_ms, FLOOR_RELATIVE_SD)
    work = features(points)
    scale = np.maximum(work.max(axis=0), 1e-12)
    design = work / scale / latencies_ms[:, None] / relative[:, None]
    found, _ = nnls(design, 1 / relative)
    coefficients = found / scale
    mean = np.maximum(work @ coefficients, 1e-9)
    ratio = latencies_ms / mean - 1
    places = coordinates(points)
    best: tuple[float, float, float, Array, Array] | None = None
    for amplitude in AMPLITUDES:
        for reach in REACHES:
            covariance = _kernel(places, places, amplitude=amplitude, reach=reach) + np.diag(relative**2)
            factor = cholesky(covariance, lower=True)
            weights = cho_solve((factor, True), ratio)
            evidence = -0.5 * float(ratio @ weights) - float(np.sum(np.log(np.diag(factor))))
            if best is None or evidence > best[0]:
                best = (evidence, amplitude, reach, weights, factor)
    _, amplitude, reach, weights, factor = best if best is not None else (0.0, 0.0, 1.0, ratio, np.eye(len(ratio)))
    return Surface(features, coordinates, coefficients, places, weights, factor, amplitude, reach)


def _kernel(left: Array, right: Array, *, amplitude: float, reach: float) -> Array:
    squared = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1)[None, :] - 2 * left @ right.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    return np.asarray(amplitude**2 * np.exp(-distance / reach), dtype=np.float64)
