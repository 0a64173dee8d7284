"""The `nuwa.verify/1` answer about one bundle."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.budget import Verdict
from nuwa_search.core.device import LatencyStats, Measurement, Provenance
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.verify_bundle import BundleCheck


@dataclass(frozen=True, kw_only=True)
class VerifyAnswer(JsonFields):
    """What a check of a bundle found.

    Args:
        schema: Of the document.
        dir: The bundle.
        is_good: Whether it is as it was certified.
        faults: What differs, in sentences.
        verdict: Of its certificate.
        budget_ms: Of its certificate; None without one.
        verdict_now: On a new measurement; None without one, or without a budget for that device.
        verdict_reason: Which limit is exceeded now; empty where none is.
        notes: What could not be checked, in sentences.
        agreement: Of each model that was run with the weights.
        latency_ms: Measured now; None where it was not.
        provenance: Where that latency comes from; None without one.
    """

    schema: str = "nuwa.verify/1"
    dir: Path
    is_good: bool
    faults: tuple[str, ...]
    verdict: str
    budget_ms: float | None
    verdict_now: str | None
    verdict_reason: str
    notes: tuple[str, ...]
    agreement: tuple[Agreement, ...]
    latency_ms: LatencyStats | None
    provenance: Provenance | None


def answer_of_check(
    folder: Path, check: BundleCheck, *, measured: Measurement | None, now: Verdict | None
) -> VerifyAnswer:
    """Make the answer from what a check found.

    Args:
        folder: The bundle.
        check: Result for its files and models.
        measured: New measurement on a device; None where none was asked for.
        now: Verdict on that measurement; None where the certificate's budget is not about that device.
    """
    certificate = check.certificate
    return VerifyAnswer(
        dir=folder,
        is_good=check.is_good,
        faults=tuple(check.faults),
        verdict=certificate.verdict,
        budget_ms=certificate.budget.ms if certificate.budget else None,
        verdict_now=now.word if now else None,
        verdict_reason=now.reason if now else "",
        notes=tuple(check.notes),
        agreement=tuple(check.agreements),
        latency_ms=measured.latency_ms if measured else None,
        provenance=measured.provenance if measured else None,
    )
