"""The certificate of a bundle: what was measured where, against which budget, and of which files."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from nuwa_search.core.device import DeviceSpec, KernelTime, LatencyStats, Measurement, MeasureProtocol, Provenance
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.verify import Agreement

SCHEMA = "nuwa.certificate/1"
BudgetStatistic = Literal["median", "p95", "p99"]


@dataclass(frozen=True)
class Certificate:
    """Proof that a compiled model meets its budget on a device, as far as it was proven.

    Args:
        arch_id: Shape of the model.
        device: What it was compiled for.
        measurement: Latency there; None where the device could not be reached from here.
        budget_ms: Budget in milliseconds; None where none was asked for.
        budget_statistic: Which statistic of the latency the budget is about.
        agreements: Comparisons with the PyTorch model.
        input_kind: What the model takes: ``normalised``, ``unit`` or ``uint8``.
        opset: Of the ONNX model.
        subnet_id: Identity of arch, base, task and derivation; empty where not known.
        facts: Further JSON values about the model (accuracies with their split, base, task).
        files: SHA-256 of every other file of the bundle, by name; filled in when the bundle is written.
        created: UTC time of writing, ISO 8601.
    """

    arch_id: str
    device: DeviceSpec
    measurement: Measurement | None
    budget_ms: float | None
    budget_statistic: BudgetStatistic = "median"
    agreements: tuple[Agreement, ...] = ()
    input_kind: str = "normalised"
    opset: int = 13
    subnet_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def provenance(self) -> Provenance | None:
        """Where the latency comes from; None without one."""
        return self.measurement.provenance if self.measurement else None

    @property
    def budgeted_latency_ms(self) -> float | None:
        """The statistic that the budget is compared with; None without a measurement."""
        if self.measurement is None:
            return None
        return float(getattr(self.measurement.latency_ms, self.budget_statistic))

    @property
    def is_met(self) -> bool | None:
        """Whether the budget is met; None without budget or measurement."""
        latency_ms = self.budgeted_latency_ms
        return None if latency_ms is None or self.budget_ms is None else latency_ms <= self.budget_ms

    @property
    def verdict(self) -> str:
        """``met``, ``met (emulated)``, ``missed``, ``not measured`` or ``no budget``."""
        if self.is_met is None:
            return "not measured" if self.measurement is None else "no budget"
        word = "met" if self.is_met else "missed"
        return word if self.provenance == "measured" else f"{word} ({self.provenance})"


def dict_from_certificate(certificate: Certificate) -> dict[str, Any]:
    """Turn a certificate into its JSON document; ``certificate_hash`` hashes all the rest."""
    measured = certificate.measurement
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "created": certificate.created,
        "arch_id": certificate.arch_id,
        "subnet_id": certificate.subnet_id,
        "device": {**asdict(certificate.device), "device_id": certificate.device.device_id},
        "input": certificate.input_kind,
        "opset": certificate.opset,
        "budget_ms": certificate.budget_ms,
        "budget_statistic": certificate.budget_statistic,
        "verdict": certificate.verdict,
        "provenance": certificate.provenance,
        "latency_ms": asdict(measured.latency_ms) if measured else None,
        "samples": measured.samples if measured else None,
        "board_interval_ms": list(measured.board_interval_ms) if measured and measured.board_interval_ms else None,
        "peak_memory_mb": measured.peak_memory_mb if measured else None,
        "protocol": {**asdict(measured.protocol), "protocol_id": measured.protocol.protocol_id} if measured else None,
        "state": dict(measured.state) if measured else {},
        "warnings": list(measured.warnings) if measured else [],
        "breakdown": [asdict(kernel) for kernel in measured.breakdown] if measured else [],
        "agreement": [_dict_from_agreement(a) for a in certificate.agreements],
        "facts": dict(certificate.facts),
        "files": dict(sorted(certificate.files.items())),
    }
    return {**values, "certificate_hash": _hash(values)}


def certificate_from_dict(values: Mapping[str, Any]) -> Certificate:
    """Read a certificate back.

    Raises:
        NuwaError: If it is of another schema, lacks a part, or was changed since it was written.
    """
    if values.get("schema") != SCHEMA:
        raise NuwaError(f"certificate has schema {values.get('schema')!r}, wanted {SCHEMA!r}")
    rest = {k: v for k, v in values.items() if k != "certificate_hash"}
    if _hash(rest) != values.get("certificate_hash"):
        raise NuwaError(
            "the certificate was changed after it was written",
            hint="export the bundle again, or copy it again from where it was made",
        )
    try:
        device = DeviceSpec(
            **_without(values["device"], "device_id", options=tuple(map(tuple, values["device"]["options"])))
        )
        certificate = Certificate(
            arch_id=values["arch_id"],
            device=device,
            measurement=_measurement_of(values, device),
            budget_ms=values["budget_ms"],
            budget_statistic=values["budget_statistic"],
            agreements=tuple(_agreement_of(a) for a in values["agreement"]),
            input_kind=values["input"],
            opset=values["opset"],
            subnet_id=values["subnet_id"],
            facts=values["facts"],
            files=values["files"],
            created=values["created"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NuwaError(f"certificate cannot be read: {type(error).__name__} {error}") from error
    return certificate


def with_files(certificate: Certificate, files: Mapping[str, str], *, created: str) -> Certificate:
    """Return the certificate for these file hashes."""
    return replace(certificate, files=dict(files), created=created)


def _measurement_of(values: Mapping[str, Any], device: DeviceSpec) -> Measurement | None:
    if values["latency_ms"] is None:
        return None
    interval = values["board_interval_ms"]
    return Measurement(
        device=device,
        protocol=MeasureProtocol(**_without(values["protocol"], "protocol_id")),
        provenance=values["provenance"],
        latency_ms=LatencyStats(**values["latency_ms"]),
        samples=values["samples"],
        breakdown=tuple(KernelTime(**kernel) for kernel in values["breakdown"]),
        board_interval_ms=(interval[0], interval[1]) if interval else None,
        peak_memory_mb=values["peak_memory_mb"],
        state=values["state"],
        warnings=tuple(values["warnings"]),
    )


def _dict_from_agreement(agreement: Agreement) -> dict[str, Any]:
    error = agreement.max_abs_error if math.isfinite(agreement.max_abs_error) else None  # JSON has no infinity
    return {**asdict(agreement), "max_abs_error": error, "is_met": agreement.is_met}


def _agreement_of(values: Mapping[str, Any]) -> Agreement:
    error = values["max_abs_error"]
    return Agreement(**_without(values, "is_met", max_abs_error=math.inf if error is None else error))


def _without(values: Mapping[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in names} | changed


def _hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
