"""Predict the latency of a subnet on a device, with an interval, without touching the device."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, arch_from_dict, dict_from_arch
from nuwa_search.core.device import DeviceSpec, Provenance
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow, dict_from_row, row_from_dict, table_id
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.calibrated import Calibrated, calibrate, calibrate_like
from nuwa_search.predictors.latency.conformal import normal_half_width
from nuwa_search.predictors.latency.correction import NO_CORRECTION, Correction, fit_correction
from nuwa_search.predictors.latency.encode import Encoded, Scale, UnitTimes

Array = npt.NDArray[np.float64]

SCHEMA = "nuwa.latency-predictor/1"
# Two coefficients of the pipeline are free of strong priors and the interval needs leave-one-out errors.
MIN_MODELS = 6
DEFAULT_COVERAGE = 0.9


@dataclass(frozen=True)
class Subject:
    """What a predictor speaks about.

    Args:
        device_name: Name of the device.
        device_id: Its identity.
        provenance: ``measured``, ``emulated`` or ``transferred``.
        protocol_id: Protocol of the figures it was fitted to.
    """

    device_name: str
    device_id: str
    provenance: Provenance
    protocol_id: str = ""


def subject_of(spec: DeviceSpec, *, protocol_id: str = "") -> Subject:
    """Describe a device as the subject of a predictor."""
    return Subject(spec.name, spec.device_id, spec.provenance, protocol_id)


class LatencyPredictor:
    """Table, pipeline, residual and interval; ``nuwa_search.predictors.contract.Predictor`` in milliseconds.

    Args:
        rows: Rows of one latency table.
        subject: Device they are from.
        coverage: Nominal coverage of the interval, a fraction.
        noise_sd: Relative error of the whole-net figures that the interval shall not contain. 0 for
            real devices, where the measured figure is all there is; the noise of an emulated
            device, whose interval is about its noise-free latency.
        scale: Factors on the rows, where they are another device's.
        common_sd: Relative error that all whole-net figures share, because they come from few sessions with
            the device; no spread among the nets shows it.
        tokens: Numbers of tokens, one per image size that was profiled, the base's own the largest. Nets of fewer are
            predicted from rows of all of them, interpolated together, and by what the largest learned of whole nets,
            with a factor and an interval of their own; a size between them by those of the nearest. Nets of the most
            are predicted as if there were no others. Empty for one size.
    """

    def __init__(
        self,
        rows: Sequence[TableRow],
        *,
        subject: Subject,
        coverage: float = DEFAULT_COVERAGE,
        noise_sd: float = 0.0,
        scale: Scale | None = None,
        common_sd: float = 0.0,
        tokens: Sequence[int] = (),
    ) -> None:
        self.tokens = tuple(sorted(set(tokens)))
        self.smaller: dict[int, LatencyPredictor] = {}  # by number of tokens, where there are several
        self.rows = tuple(rows)
        self.subject = subject
        self.noise_sd = noise_sd
        self.common_sd = common_sd
        self.scale = scale or Scale()
        self.models: tuple[tuple[Arch, float], ...] = ()
        self.corrections: tuple[tuple[Arch, float], ...] = ()
        self._coverage = coverage
        self._calibrated: Calibrated | None = None
        self._correction: Correction = NO_CORRECTION
        self._units: UnitTimes | None = None
        self._joined: tuple[int, ...] = ()

    @property
    def coverage(self) -> float:
        return self._coverage

    @property
    def units(self) -> UnitTimes:
        """Times of single branches, fitted to the rows when first needed."""
        if self._units is None:
            self._units = UnitTimes(self.rows, device_name=self.subject.device_name, joined=self._joined)
        return self._units

    @property
    def table_id(self) -> str:
        """Identify the latency table."""
        return table_id(self.rows)

    def fit(self, archs: Sequence[Arch], values: Sequence[float]) -> Self:
        if len(archs) < MIN_MODELS or len(archs) != len(values):
            raise NuwaError(
                f"a latency predictor needs at least {MIN_MODELS} measured nets, "
                f"found {len(archs)} nets and {len(values)} latencies",
                hint=f"nuwa profile {self.subject.device_name}",
            )
        measured = np.asarray(values, dtype=np.float64)
        if not np.all(np.isfinite(measured) & (measured > 0)):
            raise NuwaError("latencies to fit to must be positive milliseconds")
        if self.tokens:
            return self._fit_by_size(archs, measured)
        self._calibrated = calibrate(self.encode(archs), measured, coverage=self._coverage, noise_sd=self.noise_sd)
        self.models = tuple(zip(archs, measured.tolist(), strict=True))
        self.corrections, self._correction = (), NO_CORRECTION
        return self

    def _fit_by_size(self, archs: Sequence[Arch], measured: Array) -> Self:
        """Fit to the nets of each number of tokens apart; a smaller one with too few, as time ended, is not known."""
        count_of = {count: sum(arch.num_tokens == count for arch in archs) for count in self.tokens}
        sizes = tuple(count for count in self.tokens if count == self.tokens[-1] or count_of[count] >= MIN_MODELS)
        self.tokens = ()
        units: UnitTimes | None = None
        try:
            for count in reversed(sizes):
                places = [k for k, arch in enumerate(archs) if arch.num_tokens == count]
                nets, times = [archs[k] for k in places], measured[places]
                if count == sizes[-1]:
                    self.fit(nets, times.tolist())
                    continue
                part = self._part(sizes, units)
                part._calibrated = calibrate_like(
                    self._fitted(), part.encode(nets), times, coverage=self._coverage, noise_sd=self.noise_sd
                )
                part.models = tuple(zip(nets, times.tolist(), strict=True))
                self.smaller[count], units = part, part.units
        finally:
            self.tokens = sizes
        return self

    def _part(self, sizes: tuple[int, ...], units: UnitTimes | None) -> "LatencyPredictor":
        """Make the predictor of one of the smaller sizes, not fitted yet."""
        part = LatencyPredictor(
            self.rows,
            subject=self.subject,
            coverage=self._coverage,
            noise_sd=self.noise_sd,
            scale=self.scale,
            common_sd=self.common_sd,
        )
        part._joined, part._units = sizes, units
        return part

    def for_tokens(self, num_tokens: int) -> "LatencyPredictor":
        """Return the part that predicts nets of so many tokens: that of the nearest number (by ratio) there is."""
        if not self.smaller or num_tokens >= self.tokens[-1]:
            return self
        nearest = min(self.tokens, key=lambda count: abs(math.log(count / num_tokens)))
        # between the largest two: the joined rows know that number, the largest's own do not
        return self.smaller.get(nearest) or self.smaller[self.tokens[-2]]

    def predict(self, archs: Sequence[Arch]) -> Prediction:
        """Predict milliseconds with their interval: three (num_archs,)."""
        if self.smaller:
            return _by_part(archs, self.for_tokens, LatencyPredictor._predict)
        return self._predict(archs)

    def _predict(self, archs: Sequence[Arch]) -> Prediction:
        fitted = self._fitted()
        if not len(archs):
            return Prediction(np.zeros(0), np.zeros(0), np.zeros(0))
        encoded = self.encode(archs)
        log_value = fitted.log_latency(encoded) + self._correction.log_shift(encoded)
        value = np.exp(log_value)
        shared = normal_half_width(self._coverage) * self.common_sd
        half = np.hypot(fitted.quantile * fitted.relative_sd(encoded, value), shared)
        return Prediction(value, np.exp(log_value - half), np.exp(log_value + half))

    def block_sums(self, archs: Sequence[Arch]) -> Array:
        """Add up rows and stem as if blocks were independent, (num_archs,) milliseconds.

        This is what a table without a model of the whole net would say; the report card shows by how
        much it misses.
        """
        if self.smaller and {self.for_tokens(arch.num_tokens) for arch in archs} != {self}:
            return np.array([self.for_tokens(arch.num_tokens).encode([arch]).additive[0] for arch in archs])
        return self.encode(archs).additive

    def corrected(self, arch: Arch, measured_ms: float) -> "LatencyPredictor":
        """Return a predictor that has learned from one more measured net.

        Predictions of similar nets shift with it, those of others stay: no refit, so a search that
        goes on after a missed budget keeps its other predictions.
        """
        part = self.for_tokens(arch.num_tokens)
        if part is not self:
            other = self._copy()
            other.smaller = {n: p.corrected(arch, measured_ms) if p is part else p for n, p in self.smaller.items()}
            return other
        fitted = self._fitted()
        other = self._copy()
        other.corrections = (*self.corrections, (arch, float(measured_ms)))
        encoded = self.encode([a for a, _ in other.corrections])
        measured = np.array([ms for _, ms in other.corrections])
        other._correction = fit_correction(encoded, np.log(measured) - fitted.log_latency(encoded))
        return other

    def scaled(self, scale: Scale, *, subject: Subject, calibrated: Calibrated | None = None) -> "LatencyPredictor":
        """Return this predictor for another device, whose stages take ``scale`` times as long.

        Args:
            scale: Factors on this device's times.
            subject: The other device.
            calibrated: Interval of the other; None keeps this one's.
        """
        fitted = self._fitted()
        other = self._copy()
        other.subject, other.scale = subject, scale
        other.tokens, other.smaller = (), {}  # nothing was measured there at other sizes
        other._calibrated = calibrated or fitted
        return other

    def to_dict(self) -> dict[str, Any]:
        """Return everything needed to rebuild it as JSON values.

        Raises:
            NuwaError: If it was not fitted.
        """
        fitted = self._fitted()
        return {
            "schema": SCHEMA,
            "subject": vars(self.subject),
            "coverage": self._coverage,
            "noise_sd": self.noise_sd,
            "common_sd": self.common_sd,
            "scale": vars(self.scale),
            "rows": [dict_from_row(row) for row in self.rows],
            "models": [[dict_from_arch(arch), ms] for arch, ms in self.models],
            "corrections": [[dict_from_arch(arch), ms] for arch, ms in self.corrections],
            "fitted": fitted.to_dict(),
        } | self._smaller_json()

    def _smaller_json(self) -> dict[str, Any]:
        """Render the smaller sizes without their rows, which are the same; nothing where there are none, for ids."""
        if not self.smaller:
            return {}
        parts = {str(count): {k: v for k, v in p.to_dict().items() if k != "rows"} for count, p in self.smaller.items()}
        return {"tokens": list(self.tokens), "smaller": parts}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "LatencyPredictor":
        """Rebuild a predictor from ``to_dict``'s form; predictions are the same.

        Raises:
            NuwaError: If the content is not of this form.
        """
        if content.get("schema") != SCHEMA:
            raise NuwaError(f"not a latency predictor: schema {content.get('schema')!r}, {SCHEMA!r} wanted")
        try:
            out = cls(
                [row_from_dict(row) for row in content["rows"]],
                subject=Subject(**content["subject"]),
                coverage=float(content["coverage"]),
                noise_sd=float(content["noise_sd"]),
                scale=Scale(**content["scale"]),
                common_sd=float(content.get("common_sd", 0.0)),  # not in those of the first schema revision
                tokens=[int(count) for count in content.get("tokens", ())],
            )
            corrections = [(arch_from_dict(arch), float(ms)) for arch, ms in content["corrections"]]
            out.models = tuple((arch_from_dict(arch), float(ms)) for arch, ms in content["models"])
            out._calibrated = Calibrated.from_dict(content["fitted"])
        except (KeyError, TypeError, ValueError) as error:
            raise NuwaError(f"not a latency predictor: {error}") from error
        smaller = dict(content.get("smaller", {}))
        for arch, ms in corrections:
            out = out.corrected(arch, ms)
        for count, part in smaller.items():
            made = cls.from_dict({**part, "rows": content["rows"]})
            made._joined, made._units = out.tokens, None
            out.smaller[int(count)] = made
        return out

    @property
    def predictor_id(self) -> str:
        """Hash the content: 16 hex digits of SHA-256; the same id predicts the same."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self, archs: Sequence[Arch]) -> Encoded:
        """Sum the times of each arch's branches."""
        return self.scale.applied(self.units.encode(archs))

    @property
    def calibrated(self) -> Calibrated:
        """What was fitted to whole nets.

        Raises:
            NuwaError: If it was not fitted.
        """
        return self._fitted()

    def _fitted(self) -> Calibrated:
        if self._calibrated is None:
            raise NuwaError(
                f"the latency predictor of {self.subject.device_name} was not fitted",
                hint=f"nuwa profile {self.subject.device_name}",
            )
        return self._calibrated

    def _copy(self) -> "LatencyPredictor":
        other = LatencyPredictor(
            self.rows,
            subject=self.subject,
            coverage=self._coverage,
            noise_sd=self.noise_sd,
            scale=self.scale,
            common_sd=self.common_sd,
            tokens=self.tokens,
        )
        other.models, other._calibrated, other._units = self.models, self._calibrated, self._units
        other._joined, other.smaller = self._joined, dict(self.smaller)
        return other


def _by_part(
    archs: Sequence[Arch],
    part_of: Callable[[int], LatencyPredictor],
    predict: Callable[[LatencyPredictor, Sequence[Arch]], Prediction],
) -> Prediction:
    """Predict each arch by the part for its number of tokens, in the order given."""
    value, lower, upper = (np.zeros(len(archs)) for _ in range(3))
    counts = np.array([arch.num_tokens for arch in archs], dtype=np.int64)
    for count in np.unique(counts).tolist():
        places = np.flatnonzero(counts == count)
        found = predict(part_of(count), [archs[int(k)] for k in places])
        value[places], lower[places], upper[places] = found.value, found.lower, found.upper
    return Prediction(value, lower, upper)
