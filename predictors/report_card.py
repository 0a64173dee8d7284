"""How good a latency predictor is, on nets it was never fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, spearmanr

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.baselines import predict_by_macs, predict_by_operators
from nuwa_search.predictors.latency.conformal import normal_half_width
from nuwa_search.predictors.latency.predictor import LatencyPredictor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors of predicted against measured latencies; all fractions or correlations.

    Args:
        mape: Mean absolute error relative to measured.
        within_5pct: Share of nets within 5 %.
        within_10pct: Share of nets within 10 %.
        spearman: Rank correlation; None where it is not defined.
        kendall_tau: Rank correlation by pairs; None where it is not defined.
    """

    mape: float
    within_5pct: float
    within_10pct: float
    spearman: float | None
    kendall_tau: float | None


@dataclass(frozen=True)
class Baselines:
    """Errors of simpler predictors: latency proportional to MACs, and a sum of operators."""

    macs: Errors
    operators: Errors


@dataclass(frozen=True)
class ReportCard(JsonFields):
    """The report of a profile, and the ``report`` part of ``nuwa.profile/1``.

    Args:
        num_heldout: Nets measured and never fitted to.
        errors: Of the predictor.
        interval_coverage: Share of nets inside the interval, the measured figures' own error allowed for.
        interval_width: Mean width of the interval relative to the prediction.
        reference_sd: Relative standard error of the measured figures that was allowed for.
        nominal_coverage: What the interval promises.
        noise_floor_mape: Difference between two measurements of the same nets, relative; None where
            they were measured once.
        baselines: Of simpler predictors.
        block_sum: Errors of the plain sum of block rows.
    """

    MERGED: ClassVar = ("errors",)

    num_heldout: int
    errors: Errors
    interval_coverage: float
    interval_width: float
    reference_sd: float
    nominal_coverage: float
    noise_floor_mape: float | None
    baselines: Baselines
    block_sum: Errors


def errors_of(predicted: Array, measured: Array) -> Errors:
    """Compare predictions with measurements, (n,) milliseconds each.

    Raises:
        NuwaError: If there is nothing to compare.
    """
    if not len(measured) or len(measured) != len(predicted):
        raise NuwaError(f"a report card needs measured nets, found {len(measured)} for {len(predicted)} predictions")
    relative = np.abs(predicted / measured - 1)
    varies = len(measured) > 1 and np.ptp(measured) > 0 and np.ptp(predicted) > 0
    return Errors(
        mape=float(relative.mean()),
        within_5pct=float((relative <= 0.05).mean()),
        within_10pct=float((relative <= 0.10).mean()),
        spearman=float(spearmanr(predicted, measured).statistic) if varies else None,
        kendall_tau=float(kendalltau(predicted, measured).statistic) if varies else None,
    )


def noise_floor(repeats: Sequence[Sequence[float]]) -> float | None:
    """Compare the first two measurements of the same nets: mean absolute difference over their mean.

    Args:
        repeats: Per net its measured milliseconds.

    Returns:
        None if no net was measured twice.
    """
    pairs = np.array([values[:2] for values in repeats if len(values) >= 2])
    if not len(pairs):
        return None
    return float(np.mean(np.abs(pairs[:, 0] - pairs[:, 1]) / pairs.mean(axis=1)))


def coverage_of(prediction: Prediction, measured: Array, *, slack: float = 0.0) -> float:
    """Share of measured latencies inside the predicted interval.

    Args:
        prediction: Predictions of n nets.
        measured: (n,) milliseconds.
        slack: What the measured figures themselves may be off, relative, at the interval's own confidence;
            the interval of the difference is both in quadrature.
    """
    off = (slack * prediction.value) ** 2
    lower = prediction.value - np.sqrt((prediction.value - prediction.lower) ** 2 + off)
    upper = prediction.value + np.sqrt((prediction.upper - prediction.value) ** 2 + off)
    return float(np.mean((lower <= measured) & (measured <= upper)))


def report_card(
    predictor: LatencyPredictor,
    archs: Sequence[Arch],
    measured_ms: Array,
    *,
    noise_floor_mape: float | None = None,
    reference_sd: float = 0.0,
) -> ReportCard:
    """Judge ``predictor`` on nets that it was not fitted to.

    Args:
        predictor: Fitted.
        archs: Held-out nets.
        measured_ms: (n,) their latencies.
        noise_floor_mape: See ``noise_floor``.
        reference_sd: Relative standard error of ``measured_ms`` where the interval is about the device without
            the noise of a measurement, as on emulated devices; 0 where it is about a measurement.

    Raises:
        NuwaError: If a net was used for fitting, or there is none.
    """
    used = {arch.arch_id for arch, _ in (*predictor.models, *predictor.corrections)}
    if used & {arch.arch_id for arch in archs}:
        raise NuwaError("a report card must not hold nets that the predictor was fitted to")
    prediction = predictor.predict(archs)
    return ReportCard(
        num_heldout=len(archs),
        errors=errors_of(prediction.value, measured_ms),
        interval_coverage=coverage_of(
            prediction, measured_ms, slack=reference_sd * normal_half_width(predictor.coverage)
        ),
        interval_width=float(np.mean((prediction.upper - prediction.lower) / prediction.value)),
        reference_sd=reference_sd,
        nominal_coverage=predictor.coverage,
        noise_floor_mape=noise_floor_mape,
        baselines=Baselines(
            macs=errors_of(predict_by_macs(archs, fitted=predictor.models), measured_ms),
            operators=errors_of(predict_by_operators(archs, rows=predictor.rows), measured_ms),
        ),
        block_sum=errors_of(predictor.block_sums(archs), measured_ms),
    )
