"""The certificate of a bundle: what was measured where, against which budget, and of which files."""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from nuwa_search.core import checked
from nuwa_search.core.budget import Budget, Verdict
from nuwa_search.core.device import DeviceSpec, KernelTime, LatencyStats, Measurement, MeasureProtocol, Provenance
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.peak_memory import PEAK_MEMORY_COUNTS
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts, budget_from_dict, dict_from_facts, facts_from_dict
from nuwa_search.deploy.export.graph import InputKind

SCHEMA = "nuwa.certificate/1"
MAX_OPSET = 1000
"""Of an ONNX model; the newest of 2026 is 25."""


@dataclass(frozen=True)
class DeviceAccuracy:
    """Accuracy of the compiled file itself, the one that was timed, as its device gave it.

    Args:
        top1: Fraction.
        top1_interval: 95 % interval of it.
        num_images: Number of images.
        split: Split of these images.
        artifact_sha256: SHA-256 of the compiled file.
    """

    top1: float
    top1_interval: tuple[float, float]
    num_images: int
    split: str
    artifact_sha256: str


@dataclass(frozen=True)
class Certificate:
    """Proof that a compiled model meets its budget on a device, as far as it was proven.

    Args:
        arch_id: Shape of the model.
        device: What it was compiled for.
        measurement: Latency there; None where the device could not be reached from here.
        budget: What the measurement is held against; None where none was asked for.
        agreements: Comparisons with the PyTorch model.
        input_kind: What the model takes: ``normalised``, ``unit`` or ``uint8``.
        opset: Of the ONNX model.
        subnet_id: Identity of arch, base, task and derivation; empty where not known.
        facts: What else is known about the model: accuracies with their split, base, task.
        device_accuracy: Of the compiled file on the device; None where it was not asked.
        files: SHA-256 of every other file of the bundle, by name; filled in when the bundle is written.
        created: UTC time of writing, ISO 8601.
    """

    arch_id: str
    device: DeviceSpec
    measurement: Measurement | None
    budget: Budget | None
    agreements: tuple[Agreement, ...] = ()
    input_kind: str = "normalised"
    opset: int = 13
    subnet_id: str = ""
    facts: BundleFacts = NO_FACTS
    device_accuracy: DeviceAccuracy | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def provenance(self) -> Provenance | None:
        """Where the latency comes from; None without one."""
        return self.measurement.provenance if self.measurement else None

    @property
    def check(self) -> Verdict | None:
        """What the budget says of the measurement; None without one of them."""
        if self.measurement is None or self.budget is None:
            return None
        return self.budget.check(self.measurement)

    @property
    def is_met(self) -> bool | None:
        """Whether the budget is met; None without budget or measurement."""
        return None if self.check is None else self.check.is_met

    @property
    def verdict(self) -> str:
        """``met``, ``met (emulated)``, ``missed``, ``not measured`` or ``no budget``."""
        if self.check is None:
            return "not measured" if self.measurement is None else "no budget"
        return self.check.word


def dict_from_certificate(certificate: Certificate) -> dict[str, Any]:
    """Turn a certificate into its JSON document; ``certificate_hash`` hashes all the rest."""
    measured, budget, verdict = certificate.measurement, certificate.budget, certificate.check
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "created": certificate.created,
        "arch_id": certificate.arch_id,
        "subnet_id": certificate.subnet_id,
        "device": {**asdict(certificate.device), "device_id": certificate.device.device_id},
        "input": certificate.input_kind,
        "opset": certificate.opset,
        "budget_ms": budget.ms if budget else None,
        "budget_statistic": budget.statistic if budget else "median",
        "max_memory_mb": budget.max_memory_mb if budget else None,
        "verdict": certificate.verdict,
        "verdict_reason": verdict.reason if verdict else "",
        "provenance": certificate.provenance,
        "latency_ms": asdict(measured.latency_ms) if measured else None,
        "samples": measured.samples if measured else None,
        "board_interval_ms": list(measured.board_interval_ms) if measured and measured.board_interval_ms else None,
        "peak_memory_mb": measured.peak_memory_mb if measured else None,
        "peak_memory_counts": PEAK_MEMORY_COUNTS,
        "protocol": {**asdict(measured.protocol), "protocol_id": measured.protocol.protocol_id} if measured else None,
        "state": dict(measured.state) if measured else {},
        "warnings": list(measured.warnings) if measured else [],
        "breakdown": [asdict(kernel) for kernel in measured.breakdown] if measured else [],
        "agreement": [a.to_json() for a in certificate.agreements],
        "facts": dict_from_facts(certificate.facts),
        "device_accuracy": asdict(certificate.device_accuracy) if certificate.device_accuracy else None,
        "files": dict(sorted(certificate.files.items())),
    }
    return {**values, "certificate_hash": _hash(values)}


def certificate_from_dict(values: Mapping[str, Any]) -> Certificate:
    """Read a certificate back.

    Raises:
        NuwaError: If it is of another schema, lacks a part, or was changed since it was written.
    """
    checked.mapping(values, "certificate")
    if values.get("schema") != SCHEMA:
        raise NuwaError(f"certificate has schema {checked.shown(values.get('schema'))}, wanted {SCHEMA!r}")
    rest = {k: v for k, v in values.items() if k != "certificate_hash"}
    if _hash(rest) != values.get("certificate_hash"):
        raise NuwaError(
            "the certificate was changed after it was written",
            hint="export the bundle again, or copy it again from where it was made",
        )
    try:
        return _read(values)
    except NuwaError as error:
        raise NuwaError(f"certificate cannot be read: {error.message}", hint=error.hint) from error


def _read(values: Mapping[str, Any]) -> Certificate:
    def given(name: str) -> Any:
        return checked.field(values, name, where="it")

    device = record_from_dict(DeviceSpec, _without(given("device"), "device_id"), where="device")
    agreements = checked.items(given("agreement"), "agreement")
    return Certificate(
        arch_id=checked.text(given("arch_id"), "arch_id"),
        device=device,
        measurement=_measurement_of(values, device),
        budget=_budget_of(values),
        agreements=tuple(_agreement_of(a) for a in agreements),
        input_kind=checked.one_of(given("input"), "input", get_args(InputKind)),
        opset=checked.integer(given("opset"), "opset", low=1, high=MAX_OPSET),
        subnet_id=checked.text(given("subnet_id"), "subnet_id"),
        facts=facts_from_dict(given("facts")),
        device_accuracy=_device_accuracy_of(values.get("device_accuracy")),  # not in certificates of before
        files=_files_of(given("files")),
        created=checked.text(given("created"), "created"),
    )


def _device_accuracy_of(values: object) -> DeviceAccuracy | None:
    return None if values is None else record_from_dict(DeviceAccuracy, values, where="device_accuracy")


def _files_of(values: object) -> dict[str, str]:
    found = checked.mapping(values, "files")
    return {
        checked.relative_name(name, "files"): checked.text(digest, f"files: {name}") for name, digest in found.items()
    }


def with_files(certificate: Certificate, files: Mapping[str, str], *, created: str) -> Certificate:
    """Return the certificate for these file hashes."""
    return replace(certificate, files=dict(files), created=created)


def _budget_of(values: Mapping[str, Any]) -> Budget | None:
    if checked.field(values, "budget_ms", where="it") is None:
        return None
    return budget_from_dict(values, ms="budget_ms", statistic="budget_statistic")


def _measurement_of(values: Mapping[str, Any], device: DeviceSpec) -> Measurement | None:
    if values.get("latency_ms") is None:
        return None
    names = ("provenance", "latency_ms", "samples", "breakdown", "board_interval_ms", "peak_memory_mb", "state")
    rest = {name: checked.field(values, name, where="it") for name in (*names, "warnings")}
    protocol = _without(checked.field(values, "protocol", where="it"), "protocol_id")
    found = record_from_dict(_Measured, {**rest, "protocol": protocol}, where="measurement")
    for name in ("median", "mean", "min", "max"):
        checked.finite(getattr(found.latency_ms, name), f"latency_ms: {name}", above=0)
    if found.latency_ms.sustained is not None:
        checked.finite(found.latency_ms.sustained, "latency_ms: sustained", above=0)
    # before a certificate said what peak memory counts, emulated boards counted their CUDA context too
    counts_alike = "peak_memory_counts" in values or found.provenance != "emulated"
    known = {f.name: getattr(found, f.name) for f in fields(found)}
    return Measurement(device=device, **{**known, "peak_memory_mb": found.peak_memory_mb if counts_alike else None})


@dataclass(frozen=True)
class _Measured:
    """What a certificate tells of a measurement besides the device, as it lies in the file."""

    protocol: MeasureProtocol
    provenance: Provenance
    latency_ms: LatencyStats
    samples: int
    breakdown: tuple[KernelTime, ...]
    board_interval_ms: tuple[float, float] | None
    peak_memory_mb: float | None
    state: Mapping[str, str]
    warnings: tuple[str, ...]


def _agreement_of(values: object) -> Agreement:
    found = _without(values, "is_met")
    if found.get("max_abs_error", 0) is None:
        found["max_abs_error"] = sys.float_info.max  # a record's numbers are finite; put back below
        return replace(record_from_dict(Agreement, found, where="agreement"), max_abs_error=math.inf)
    return record_from_dict(Agreement, found, where="agreement")


def _without(values: object, *names: str) -> dict[str, Any]:
    return {k: v for k, v in checked.mapping(values, "a part of it").items() if k not in names}


def _hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
