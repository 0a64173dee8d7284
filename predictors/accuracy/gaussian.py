"""Exact Gaussian-process regression for a few hundred rows, its hyper-parameters from a grid.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5: marginal
likelihood (eq. 5.8) and leave-one-out residuals in closed form (eq. 5.12). One eigendecomposition per kernel
serves every noise level, so a fit is quick and, having no random start, repeatable.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Length scales tried, in units of the median distance between rows."""
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Noise variances tried, relative to the kernel's."""
LINEAR_SHARES = (0.1, 0.5, 0.9)
"""Shares of the linear kernel in the sum of linear and squared-exponential kernel."""


@dataclass(frozen=True)
class GaussianFit:
    """A fitted process; predictions need the rows it was fitted to.

    Args:
        rows: (n, d) standardised features.
        weights: (n,) K⁻¹ y.
        inverse: (n, n) inverse of the noisy kernel matrix.
        length: Length scale in feature units.
        linear_share: Share of the linear kernel.
        scale: Variance of the process (signal).
        noise: Noise variance, relative to ``scale``.
        loo_ratio: (n,) leave-one-out residuals over their predicted standard deviation.
    """

    rows: Floats
    weights: Floats
    inverse: Floats
    length: float
    linear_share: float
    scale: float
    noise: float
    loo_ratio: Floats

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Predict mean and standard deviation of a noisy observation at (m, d) rows: two (m,)."""
        cross = _kernel(rows, self.rows, length=self.length, linear_share=self.linear_share)
        own = 1.0 - self.linear_share + self.linear_share * (1.0 + (rows**2).sum(axis=1)) / (1 + rows.shape[1])
        spread = own + self.noise - ((cross @ self.inverse) * cross).sum(axis=1)
        return cross @ self.weights, np.sqrt(self.scale * np.maximum(spread, self.noise))


def fit_gaussian(rows: Floats, targets: Floats, *, prior_scale: float) -> GaussianFit:
    """Fit a zero-mean process to standardised rows.

    Args:
        rows: (n, d), n >= 1.
        targets: (n,).
        prior_scale: What the process variance is before any row is seen; counts as two rows.
    """
    n = len(rows)
    distances = np.sqrt(_squared_distances(rows, rows))
    unit = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
    best: tuple[float, GaussianFit] | None = None
    for share in LINEAR_SHARES:
        for length in LENGTHS:
            gram = _kernel(rows, rows, length=length * unit, linear_share=share)
            values, vectors = np.linalg.eigh(gram)
            values = np.maximum(values, 0.0)
            rotated = vectors.T @ targets
            for noise in NOISES:
                spectrum = values + noise
                power = float((rotated**2 / spectrum).sum())
                scale = (power + 2 * prior_scale) / (n + 2)
                score = -0.5 * (n * np.log(scale) + float(np.log(spectrum).sum()) + power / scale)
                if best is None or score > best[0]:
                    inverse = (vectors / spectrum) @ vectors.T
                    weights = inverse @ targets
                    precision = np.diag(inverse)
                    ratio = weights / np.sqrt(scale * precision)
                    fit = GaussianFit(rows, weights, inverse, length * unit, share, scale, noise, ratio)
                    best = (score, fit)
    if best is None:
        raise ValueError("the hyper-parameter grid is empty")
    return best[1]


def _kernel(a: Floats, b: Floats, *, length: float, linear_share: float) -> Floats:
    smooth = np.exp(-0.5 * _squared_distances(a, b) / length**2)
    linear = (1.0 + a @ b.T) / (1 + a.shape[1])
    return np.asarray((1.0 - linear_share) * smooth + linear_share * linear)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))
