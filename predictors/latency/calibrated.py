"""Fit pipeline and residual to whole nets, with leave-one-out errors for the interval."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nuwa_search.predictors.latency.conformal import conformal_quantile, noise_share
from nuwa_search.predictors.latency.encode import Encoded
from nuwa_search.predictors.latency.pipeline import BELIEFS, Pipeline, fit_pipeline
from nuwa_search.predictors.latency.residual import STRENGTHS, Residual, fit_residual, residual_features

Array = npt.NDArray[np.float64]
_Fold = tuple[npt.NDArray[np.bool_], Encoded, Pipeline]  # which nets, their times, what was fitted to them

# Candidates for either part of the spread, as multiples of the typical error.
_SPREAD_GRID = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0)
# No figure on any device repeats better than this.
_FLOOR_SD = 0.001


@dataclass(frozen=True)
class Calibrated:
    """What was fitted to whole nets.

    Args:
        pipeline: Coefficients of the flow shop.
        residual: Correction of what they miss.
        base_sd: Relative error of a large net whose branches are all measured.
        ends_sd_ms: Error of what every net pays once; it weighs on small nets only.
        quantile: Half-width of the interval over the expected error.
        loo_errors: Leave-one-out errors of the nets, logarithms of measured over predicted.
    """

    pipeline: Pipeline
    residual: Residual
    base_sd: float
    ends_sd_ms: float
    quantile: float
    loo_errors: tuple[float, ...]

    def log_latency(self, encoded: Encoded) -> Array:
        """Predict logarithms of milliseconds, (num_archs,)."""
        return _log_latency(self.pipeline, self.residual, encoded)

    def relative_sd(self, encoded: Encoded, latency_ms: Array) -> Array:
        """Expect this relative error, (num_archs,): more where rows were interpolated."""
        return _relative_sd(self.base_sd, self.ends_sd_ms, encoded, latency_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "pipeline": self.pipeline.to_dict(),
            "residual": self.residual.to_dict(),
            "base_sd": self.base_sd,
            "ends_sd_ms": self.ends_sd_ms,
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
            ends_sd_ms=float(values["ends_sd_ms"]),
            quantile=float(values["quantile"]),
            loo_errors=tuple(float(e) for e in values["loo_errors"]),
        )


def calibrate(encoded: Encoded, latencies_ms: Array, *, coverage: float, noise_sd: float = 0.0) -> Calibrated:
    """Fit everything that whole nets can teach.

    Args:
        encoded: Branch times of n nets.
        latencies_ms: (n,) measured.
        coverage: Nominal coverage of the interval.
        noise_sd: Relative error of ``latencies_ms`` that the interval shall not contain.
    """
    best: tuple[float, float, float, Array] | None = None
    for belief in BELIEFS:
        folds = _fit_folds(encoded, latencies_ms, belief=belief)
        for strength in STRENGTHS:
            found = _loo_errors(encoded, latencies_ms, folds, strength=strength)
            cost = float(np.mean(found**2))
            if best is None or cost < best[0]:
                best = (cost, belief, strength, found)
    _, belief, strength, errors = best if best is not None else (0.0, BELIEFS[0], 0.0, np.zeros(0))
    pipeline = fit_pipeline(encoded, latencies_ms, belief=belief)
    base_sd, ends_sd_ms = _fit_spread(errors, encoded, latencies_ms)
    scores = np.abs(errors) / _relative_sd(base_sd, ends_sd_ms, encoded, latencies_ms)
    quantile = conformal_quantile(scores, coverage=coverage) * noise_share(_typical_sd(errors), noise_sd=noise_sd)
    residual = _residual(pipeline, encoded, latencies_ms, strength=strength)
    return Calibrated(pipeline, residual, base_sd, ends_sd_ms, quantile, tuple(float(e) for e in errors))


def calibrate_like(
    known: Calibrated, encoded: Encoded, latencies_ms: Array, *, coverage: float, noise_sd: float = 0.0
) -> Calibrated:
    """Take over how branches make up a net, and learn from a few nets of another image size how far that is off.

    Sixteen nets do not tell the pipeline's coefficients: fitted anew they dropped the ends of the net on a ViT-S at 168
    pixels, and missed small nets by an eighth. One factor on all is fitted where leaving out says that it helps.

    Args:
        known: Of the base's own size.
        encoded: Branch times of n nets at the other size.
        latencies_ms: (n,) measured.
        coverage: Nominal coverage of the interval.
        noise_sd: As of ``calibrate``.
    """
    off = np.log(latencies_ms) - known.log_latency(encoded)
    left_out = off - (off.sum() - off) / (len(off) - 1)
    is_better = float(np.mean(left_out**2)) < float(np.mean(off**2))
    errors, shift = (left_out, float(off.mean())) if is_better else (off, 0.0)
    residual = replace(known.residual, offset=known.residual.offset + shift)
    base_sd, ends_sd_ms = _fit_spread(errors, encoded, latencies_ms)
    scores = np.abs(errors) / _relative_sd(base_sd, ends_sd_ms, encoded, latencies_ms)
    quantile = conformal_quantile(scores, coverage=coverage) * noise_share(_typical_sd(errors), noise_sd=noise_sd)
    return Calibrated(known.pipeline, residual, base_sd, ends_sd_ms, quantile, tuple(float(e) for e in errors))


def _fit_folds(encoded: Encoded, latencies_ms: Array, *, belief: float) -> list[_Fold]:
    """Fit the pipeline as often as there are nets, each time without one of them."""
    folds = []
    for left_out in range(len(latencies_ms)):
        keep = np.arange(len(latencies_ms)) != left_out
        kept = encoded.take(keep)
        folds.append((keep, kept, fit_pipeline(kept, latencies_ms[keep], belief=belief)))
    return folds


def _typical_sd(errors: Array) -> float:
    """Estimate a standard deviation that a few wild errors do not move: the 68.3 % quantile of their sizes."""
    return float(np.quantile(np.abs(errors), 0.683))


def _loo_errors(
    encoded: Encoded,
    latencies_ms: Array,
    folds: list[_Fold],
    *,
    strength: float,
) -> Array:
    errors = np.zeros(len(latencies_ms))
    for index, (keep, kept, pipeline) in enumerate(folds):
        residual = _residual(pipeline, kept, latencies_ms[keep], strength=strength)
        predicted = _log_latency(pipeline, residual, encoded.take(np.array([index])))[0]
        errors[index] = np.log(latencies_ms[index]) - predicted
    return errors


def _residual(pipeline: Pipeline, encoded: Encoded, latencies_ms: Array, *, strength: float) -> Residual:
    summed = pipeline.latency(encoded)
    return fit_residual(_features(pipeline, encoded, summed), np.log(latencies_ms / summed), strength=strength)


def _features(pipeline: Pipeline, encoded: Encoded, summed: Array) -> Array:
    work, launch = pipeline.stages(encoded)
    return residual_features(encoded, summed, work=work.sum(axis=1), launch=launch.sum(axis=1))


def _log_latency(pipeline: Pipeline, residual: Residual, encoded: Encoded) -> Array:
    summed = np.maximum(pipeline.latency(encoded), 1e-9)
    return np.asarray(np.log(summed) + residual.log_ratio(_features(pipeline, encoded, summed)), dtype=np.float64)


def _relative_sd(base_sd: float, ends_sd_ms: float, encoded: Encoded, latency_ms: Array) -> Array:
    table = encoded.variance / latency_ms**2
    return np.asarray(np.sqrt(base_sd**2 + (ends_sd_ms / latency_ms) ** 2 + table), dtype=np.float64)


def _fit_spread(errors: Array, encoded: Encoded, latencies_ms: Array) -> tuple[float, float]:
    """Split the errors into a relative part and one in milliseconds by maximum likelihood on a grid."""
    typical = max(_typical_sd(errors), _FLOOR_SD)
    best: tuple[float, float, float] | None = None
    for base_sd in np.maximum(typical * np.array(_SPREAD_GRID), _FLOOR_SD):
        for share in (0.0, *_SPREAD_GRID):
            ends_sd_ms = share * typical * float(np.median(latencies_ms))
            sd = _relative_sd(float(base_sd), ends_sd_ms, encoded, latencies_ms)
            cost = float(np.sum(np.log(sd) + 0.5 * (errors / sd) ** 2))
            if best is None or cost < best[0]:
                best = (cost, float(base_sd), ends_sd_ms)
    return (typical, 0.0) if best is None else best[1:]
