"""Exact Gaussian-process regression for a few hundred rows, its hyper-parameters from a grid.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5: marginal
likelihood (eq. 5.8) and leave-one-out residuals in closed form (eq. 5.12). One eigendecomposition per kernel
serves every noise level, so a fit is quick and, having no random start, repeatable.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LENGTHS = (1.0, 2.0, 4.0)
"""Length scales tried, in units of the median distance between rows."""
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Noise variances tried, relative to the kernel's."""
MIXES = ((0.8, 0.2, 0.0), (0.4, 0.2, 0.4), (0.1, 0.2, 0.7), (0.1, 0.8, 0.1))
"""Shares of the squared-exponential, linear and pair kernel tried."""


@dataclass(frozen=True)
class KernelInputs:
    """What the kernels compare.

    Args:
        rows: (n, d) standardised features, for the squared-exponential and the linear kernel.
        directions: (n, p) unit vectors, for the pair kernel (u · u′)²: its functions are uᵀAu with any A, one
            weight for every pair of columns.
    """

    rows: Floats
    directions: Floats


@dataclass(frozen=True)
class GaussianFit:
    """A fitted process; predictions need the inputs it was fitted to.

    Args:
        inputs: Of n rows.
        weights: (n,) K⁻¹ y.
        inverse: (n, n) inverse of the noisy kernel matrix.
        length: Length scale in feature units.
        mix: Shares of the kernels, adding up to 1.
        scale: Variance of the process (signal).
        noise: Noise variance, relative to ``scale``.
        loo_ratio: (n,) leave-one-out residuals over their predicted standard deviation.
    """

    inputs: KernelInputs
    weights: Floats
    inverse: Floats
    length: float
    mix: tuple[float, float, float]
    scale: float
    noise: float
    loo_ratio: Floats

    def predict(self, inputs: KernelInputs) -> tuple[Floats, Floats]:
        """Predict mean and standard deviation of a noisy observation at m inputs: two (m,)."""
        cross = _kernel(inputs, self.inputs, length=self.length, mix=self.mix)
        smooth, linear, pair = self.mix
        rows = inputs.rows
        own = smooth + linear * (1.0 + (rows**2).sum(axis=1)) / (1 + rows.shape[1])
        own = own + pair * (inputs.directions**2).sum(axis=1) ** 2
        spread = own + self.noise - ((cross @ self.inverse) * cross).sum(axis=1)
        return cross @ self.weights, np.sqrt(self.scale * np.maximum(spread, self.noise))


def fit_gaussian(inputs: KernelInputs, targets: Floats, *, prior_scale: float) -> GaussianFit:
    """Fit a zero-mean process.

    Args:
        inputs: Of n >= 1 rows.
        targets: (n,).
        prior_scale: What the process variance is before any row is seen; counts as two rows.
    """
    fits = [
        _best_noise(inputs, targets, length=length, mix=mix, prior_scale=prior_scale)
        for mix in MIXES
        for length in _lengths(inputs.rows)
    ]
    return max(fits, key=lambda scored: scored[0])[1]


def _lengths(rows: Floats) -> list[float]:
    distances = np.sqrt(_squared_distances(rows, rows))
    apart = distances[distances > 0]
    unit = float(np.median(apart)) if len(apart) else 1.0
    return [unit * length for length in LENGTHS]


def _best_noise(
    inputs: KernelInputs, targets: Floats, *, length: float, mix: tuple[float, float, float], prior_scale: float
) -> tuple[float, GaussianFit]:
    """Log marginal likelihood and fit at the best noise level of one kernel."""
    n = len(targets)
    values, vectors = np.linalg.eigh(_kernel(inputs, inputs, length=length, mix=mix))
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ targets
    scored = []
    for noise in NOISES:
        spectrum = values + noise
        power = float((rotated**2 / spectrum).sum())
        scale = (power + 2 * prior_scale) / (n + 2)
        scored.append((-0.5 * (n * np.log(scale) + float(np.log(spectrum).sum()) + power / scale), noise, scale))
    score, noise, scale = max(scored)
    inverse = (vectors / (values + noise)) @ vectors.T
    weights = inverse @ targets
    ratio = weights / np.sqrt(scale * np.diag(inverse))
    return score, GaussianFit(inputs, weights, inverse, length, mix, float(scale), noise, ratio)


def _kernel(a: KernelInputs, b: KernelInputs, *, length: float, mix: tuple[float, float, float]) -> Floats:
    smooth, linear, pair = mix
    total = smooth * np.exp(-0.5 * _squared_distances(a.rows, b.rows) / length**2)
    total += linear * (1.0 + a.rows @ b.rows.T) / (1 + a.rows.shape[1])
    if pair:
        total += pair * (a.directions @ b.directions.T) ** 2
    return np.asarray(total)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))
