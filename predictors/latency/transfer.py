"""Carry a device's predictor over to another device with at most ten measurements there.

Devices with the same kind of runtime share the shape of their latency: what differs is how fast they
work, how fast they launch, and what every net pays once. Those three are scaled by factors fitted to
the new device's measurements, with a prior that one common factor explains all. Few measurements
across devices are the idea of HELP (arXiv 2106.08630); scaling a pipeline's stages is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.latency.conformal import conformal_quantile
from nuwa_search.predictors.latency.encode import Scale
from nuwa_search.predictors.latency.predictor import LatencyPredictor, Subject

Array = npt.NDArray[np.float64]

MAX_MEASUREMENTS = 10
MIN_MEASUREMENTS = 2
# Logarithms of the factors against the common one: the Nano's two power modes differ by a ninth between
# launches and work, boards of two generations by a third.
_RATIO_SD = 0.3
# The source's shape is believed to about this much when weighed against the prior.
_BELIEF = 0.02


@dataclass(frozen=True)
class TransferStep:
    """Error of a transfer with so many measurements, on measured nets that it did not use."""

    num_measurements: int
    mape: float


def transfer(
    source: LatencyPredictor, archs: Sequence[Arch], latencies_ms: Sequence[float], *, subject: Subject
) -> LatencyPredictor:
    """Scale ``source`` to a few measurements on another device; its provenance is ``transferred``.

    The interval is as wide as leave-one-out errors of these few nets ask for.

    Args:
        source: Fitted on the known device.
        archs: Nets measured on the new one, 2 to 10.
        latencies_ms: Their latencies.
        subject: The new device.

    Raises:
        NuwaError: If there are too few or too many measurements, or they are not positive.
    """
    measured = _checked(archs, latencies_ms)
    factors = _fit_scale(source, archs, measured)
    errors = np.zeros(len(archs))
    for left_out in range(len(archs)):
        keep = [i for i in range(len(archs)) if i != left_out]
        other = _fit_scale(source, [archs[i] for i in keep], measured[keep])
        predicted = source.scaled(other, subject=subject).predict([archs[left_out]]).value[0]
        errors[left_out] = np.log(measured[left_out] / predicted)
    calibrated = source.calibrated
    base_sd = max(float(np.sqrt(np.mean(errors**2))), calibrated.base_sd)
    return source.scaled(
        factors,
        subject=replace(subject, provenance="transferred"),
        calibrated=replace(
            calibrated,
            base_sd=base_sd,
            quantile=max(conformal_quantile(np.abs(errors) / base_sd, coverage=source.coverage), 1.0),
            loo_errors=tuple(float(e) for e in errors),
        ),
    )


def transfer_curve(
    source: LatencyPredictor, archs: Sequence[Arch], latencies_ms: Sequence[float], *, subject: Subject
) -> list[TransferStep]:
    """Report the error against the number of measurements, 1 up to one less than there are.

    Each step averages over as many choices of nets as there are nets, taken in turn.

    Args:
        source: Predictor fitted on the known device.
        archs: Nets measured on the new device, 2 to 10.
        latencies_ms: Their latencies in milliseconds.
        subject: The new device.

    Raises:
        NuwaError: As ``transfer``.
    """
    measured = _checked(archs, latencies_ms)
    n = len(archs)
    steps = []
    for count in range(1, n):
        errors = []
        for first in range(n):
            used = [(first + k) % n for k in range(count)]
            rest = [i for i in range(n) if i not in used]
            factors = _fit_scale(source, [archs[i] for i in used], measured[used])
            predicted = source.scaled(factors, subject=subject).predict([archs[i] for i in rest]).value
            errors.append(float(np.mean(np.abs(predicted / measured[rest] - 1))))
        steps.append(TransferStep(count, float(np.mean(errors))))
    return steps


def choose_nets(source: LatencyPredictor, pool: Sequence[Arch], *, count: int = MAX_MEASUREMENTS) -> list[Arch]:
    """Choose nets to measure: evenly spread over the latencies that ``source`` predicts, ends included."""
    order = np.argsort(source.predict(pool).value)
    places = np.unique(np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int))
    return [pool[int(order[place])] for place in places]


def _checked(archs: Sequence[Arch], latencies_ms: Sequence[float]) -> Array:
    measured = np.asarray(latencies_ms, dtype=np.float64)
    if not MIN_MEASUREMENTS <= len(archs) <= MAX_MEASUREMENTS or len(archs) != len(measured):
        raise NuwaError(
            f"a transfer takes {MIN_MEASUREMENTS} to {MAX_MEASUREMENTS} measured nets, found {len(archs)} nets and "
            f"{len(measured)} latencies"
        )
    if not np.all(np.isfinite(measured) & (measured > 0)):
        raise NuwaError("latencies to transfer to must be positive milliseconds")
    return measured


def _fit_scale(source: LatencyPredictor, archs: Sequence[Arch], measured: Array) -> Scale:
    """Fit logarithms of a common factor and of each stage's ratio to it."""
    encoded = source.encode(archs)
    calibrated = source.calibrated

    def scale_of(theta: Array) -> Scale:
        common, work, launch, stem = (float(t) for t in theta)
        return Scale(work=np.exp(common + work), launch=np.exp(common + launch), stem=np.exp(common + stem))

    def residuals(theta: Array) -> Array:
        predicted = calibrated.log_latency(scale_of(theta).applied(encoded))
        return np.concatenate([(predicted - np.log(measured)) / _BELIEF, theta[1:] / _RATIO_SD])

    start = np.zeros(4)
    start[0] = float(np.mean(np.log(measured) - calibrated.log_latency(encoded)))
    return scale_of(least_squares(residuals, start).x)
