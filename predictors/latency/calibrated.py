"""Fit overlap and residual to whole nets, with leave-one-out errors for the interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.latency.conformal import conformal_quantile, noise_share
from predictors.latency.encode import Encoded
from predictors.latency.overlap import Overlap, fit_overlap
from predictors.latency.residual import STRENGTHS, Residual, fit_residual, residual_features

Array = npt.NDArray[np.float64]

# A table row's error is partly shared by all uses of the row, partly averaged out; the share of the
# spread that stays in a whole net's price enters the width of its interval with this weight.
_TABLE_WEIGHT = 1.0
# No figure on any device repeats better than this.
_FLOOR_SD = 0.001


@dataclass(frozen=True)
class Calibrated:
    """What was fitted to whole nets.

    Args:
        overlap: Coefficients of the sums.
        residual: Correction of what they miss.
        base_sd: Relative error of a net whose branches are all measured.
        quantile: Half-width of the interval over the expected error.
        loo_errors: Leave-one-out errors of the nets, logarithms of measured over predicted.
    """

    overlap: Overlap
    residual: Residual
    base_sd: float
    quantile: float
    loo_errors: tuple[float, ...]

    def log_latency(self, sums: Encoded) -> Array:
        """Predict logarithms of milliseconds, (num_archs,)."""
        return _log_latency(self.overlap, self.residual, sums)

    def relative_sd(self, sums: Encoded, latency_ms: Array) -> Array:
        """Expect this relative error, (num_archs,): more where rows were interpolated."""
        return _relative_sd(self.base_sd, sums, latency_ms)


def calibrate(sums: Encoded, latencies_ms: Array, *, coverage: float, noise_sd: float = 0.0) -> Calibrated:
    """Fit everything that whole nets can teach.

    Args:
        sums: Of n nets.
        latencies_ms: (n,) measured.
        coverage: Nominal coverage of the interval.
        noise_sd: Relative error of ``latencies_ms`` that the interval shall not contain.
    """
    n = len(latencies_ms)
    overlap = fit_overlap(sums, latencies_ms)
    folds = []
    for left_out in range(n):
        keep = np.arange(n) != left_out
        kept = sums.take(keep)
        folds.append((keep, kept, fit_overlap(kept, latencies_ms[keep], sharpness=overlap.sharpness)))
    errors_of = {s: _loo_errors(sums, latencies_ms, folds, strength=s) for s in STRENGTHS}
    strength = min(STRENGTHS, key=lambda s: float(np.mean(errors_of[s] ** 2)))
    errors = errors_of[strength]
    base_sd = max(float(np.sqrt(np.mean(errors**2))), _FLOOR_SD)
    scores = np.abs(errors) / _relative_sd(base_sd, sums, latencies_ms)
    quantile = conformal_quantile(scores, coverage=coverage) * noise_share(base_sd, noise_sd=noise_sd)
    residual = _residual(overlap, sums, latencies_ms, strength=strength)
    return Calibrated(overlap, residual, base_sd, quantile, tuple(float(e) for e in errors))


def _loo_errors(
    sums: Encoded, latencies_ms: Array, folds: list[tuple[npt.NDArray[np.bool_], Encoded, Overlap]], *, strength: float
) -> Array:
    errors = np.zeros(len(latencies_ms))
    for index, (keep, kept, overlap) in enumerate(folds):
        residual = _residual(overlap, kept, latencies_ms[keep], strength=strength)
        predicted = _log_latency(overlap, residual, sums.take(np.array([index])))[0]
        errors[index] = np.log(latencies_ms[index]) - predicted
    return errors


def _residual(overlap: Overlap, sums: Encoded, latencies_ms: Array, *, strength: float) -> Residual:
    summed = overlap.latency(sums)
    return fit_residual(_features(overlap, sums, summed), np.log(latencies_ms / summed), strength=strength)


def _features(overlap: Overlap, sums: Encoded, summed: Array) -> Array:
    work, launch = overlap.sides(sums)
    return residual_features(sums, summed, work=work, launch=launch)


def _log_latency(overlap: Overlap, residual: Residual, sums: Encoded) -> Array:
    summed = np.maximum(overlap.latency(sums), 1e-9)
    return np.asarray(np.log(summed) + residual.log_ratio(_features(overlap, sums, summed)), dtype=np.float64)


def _relative_sd(base_sd: float, sums: Encoded, latency_ms: Array) -> Array:
    table = np.sqrt(sums.variance) / latency_ms
    return np.asarray(np.hypot(base_sd, _TABLE_WEIGHT * table), dtype=np.float64)
