"""Fit pipeline and residual to whole nets, with leave-one-out errors for the interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from predictors.latency.conformal import conformal_quantile, noise_share
from predictors.latency.encode import Encoded
from predictors.latency.pipeline import Pipeline, fit_pipeline
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
        pipeline: Coefficients of the flow shop.
        residual: Correction of what they miss.
        base_sd: Relative error of a net whose branches are all measured.
        quantile: Half-width of the interval over the expected error.
        loo_errors: Leave-one-out errors of the nets, logarithms of measured over predicted.
    """

    pipeline: Pipeline
    residual: Residual
    base_sd: float
    quantile: float
    loo_errors: tuple[float, ...]

    def log_latency(self, prices: Encoded) -> Array:
        """Predict logarithms of milliseconds, (num_archs,)."""
        return _log_latency(self.pipeline, self.residual, prices)

    def relative_sd(self, prices: Encoded, latency_ms: Array) -> Array:
        """Expect this relative error, (num_archs,): more where rows were interpolated."""
        return _relative_sd(self.base_sd, prices, latency_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "pipeline": self.pipeline.to_dict(),
            "residual": self.residual.to_dict(),
            "base_sd": self.base_sd,
            "quantile": self.quantile,
            "loo_errors": list(self.loo_errors),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read ``to_dict``'s form back."""
        return cls(
            pipeline=Pipeline.from_dict(values["pipeline"]),
            residual=Residual.from_dict(values["residual"]),
            base_sd=float(values["base_sd"]),
            quantile=float(values["quantile"]),
            loo_errors=tuple(float(e) for e in values["loo_errors"]),
        )


def calibrate(prices: Encoded, latencies_ms: Array, *, coverage: float, noise_sd: float = 0.0) -> Calibrated:
    """Fit everything that whole nets can teach.

    Args:
        prices: Of n nets.
        latencies_ms: (n,) measured.
        coverage: Nominal coverage of the interval.
        noise_sd: Relative error of ``latencies_ms`` that the interval shall not contain.
    """
    n = len(latencies_ms)
    pipeline = fit_pipeline(prices, latencies_ms)
    folds = []
    for left_out in range(n):
        keep = np.arange(n) != left_out
        kept = prices.take(keep)
        folds.append((keep, kept, fit_pipeline(kept, latencies_ms[keep])))
    errors_of = {s: _loo_errors(prices, latencies_ms, folds, strength=s) for s in STRENGTHS}
    strength = min(STRENGTHS, key=lambda s: float(np.mean(errors_of[s] ** 2)))
    errors = errors_of[strength]
    base_sd = max(float(np.sqrt(np.mean(errors**2))), _FLOOR_SD)
    scores = np.abs(errors) / _relative_sd(base_sd, prices, latencies_ms)
    quantile = conformal_quantile(scores, coverage=coverage) * noise_share(base_sd, noise_sd=noise_sd)
    residual = _residual(pipeline, prices, latencies_ms, strength=strength)
    return Calibrated(pipeline, residual, base_sd, quantile, tuple(float(e) for e in errors))


def _loo_errors(
    prices: Encoded,
    latencies_ms: Array,
    folds: list[tuple[npt.NDArray[np.bool_], Encoded, Pipeline]],
    *,
    strength: float,
) -> Array:
    errors = np.zeros(len(latencies_ms))
    for index, (keep, kept, pipeline) in enumerate(folds):
        residual = _residual(pipeline, kept, latencies_ms[keep], strength=strength)
        predicted = _log_latency(pipeline, residual, prices.take(np.array([index])))[0]
        errors[index] = np.log(latencies_ms[index]) - predicted
    return errors


def _residual(pipeline: Pipeline, prices: Encoded, latencies_ms: Array, *, strength: float) -> Residual:
    summed = pipeline.latency(prices)
    return fit_residual(_features(pipeline, prices, summed), np.log(latencies_ms / summed), strength=strength)


def _features(pipeline: Pipeline, prices: Encoded, summed: Array) -> Array:
    work, launch = pipeline.stages(prices)
    return residual_features(prices, summed, work=work.sum(axis=1), launch=launch.sum(axis=1))


def _log_latency(pipeline: Pipeline, residual: Residual, prices: Encoded) -> Array:
    summed = np.maximum(pipeline.latency(prices), 1e-9)
    return np.asarray(np.log(summed) + residual.log_ratio(_features(pipeline, prices, summed)), dtype=np.float64)


def _relative_sd(base_sd: float, prices: Encoded, latency_ms: Array) -> Array:
    table = np.sqrt(prices.variance) / latency_ms
    return np.asarray(np.hypot(base_sd, _TABLE_WEIGHT * table), dtype=np.float64)
