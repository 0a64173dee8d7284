"""Shift predictions near nets that were measured after the fit: the repair after a missed budget."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.predictors.latency.encode import Encoded

Array = npt.NDArray[np.float64]

# Nets that share four fifths of their work share most of their error.
_REACH = 0.2
# A verified winner's latency repeats to about this much.
_NOISE_SD = 0.003


@dataclass(frozen=True)
class Correction:
    """A Gaussian process over measured misses; without nets it corrects nothing.

    Args:
        places: (m, f) composition of the measured nets.
        weights: (m,) of the process.
    """

    places: Array
    weights: Array

    def log_shift(self, encoded: Encoded) -> Array:
        """Shift the logarithm of the latency, (num_archs,)."""
        if not len(self.weights):
            return np.zeros(len(encoded.stem))
        return np.asarray(_closeness(_composition(encoded), self.places) @ self.weights, dtype=np.float64)


NO_CORRECTION = Correction(np.zeros((0, 6)), np.zeros(0))


def fit_correction(encoded: Encoded, log_misses: Array) -> Correction:
    """Fit the shifts.

    Args:
        encoded: Branch times of m nets measured after the fit.
        log_misses: (m,) logarithm of measured over predicted.
    """
    places = _composition(encoded)
    variance = max(float(np.max(log_misses**2)), _NOISE_SD**2)
    near = _closeness(places, places)
    weights = np.linalg.solve(near + np.eye(len(places)) * (_NOISE_SD**2 / variance), log_misses)
    return Correction(places, np.asarray(weights, dtype=np.float64))


def _composition(encoded: Encoded) -> Array:
    """Describe nets by work and numbers of their branches on a logarithmic scale, (num_archs, 6)."""
    work_attn, work_mlp = encoded.work[:, 0::2].sum(axis=1), encoded.work[:, 1::2].sum(axis=1)
    columns = [work_attn, work_mlp, encoded.stem, encoded.num_attn, encoded.num_mlp, encoded.num_whole]
    small = [1e-3, 1e-3, 1e-3, 1.0, 1.0, 1.0]
    return np.stack([np.log(c + s) for c, s in zip(columns, small, strict=True)], axis=1)


def _closeness(left: Array, right: Array) -> Array:
    distance = np.abs(left[:, None, :] - right[None, :, :]).sum(axis=2)
    return np.asarray(np.exp(-distance / _REACH), dtype=np.float64)
