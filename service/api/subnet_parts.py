"""What the document of a subnet is put together from."""

from collections.abc import Mapping
from dataclasses import dataclass

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.service.api.predictions import LatencyByBlock


@dataclass(frozen=True, kw_only=True)
class LatencyPart:
    """What is known of a subnet's latency on one device; ``by_block`` is None where no predictor can split it."""

    device: str
    device_id: str
    predicted_latency_ms: float | None
    predicted_interval_ms: list[float] | None
    measured_latency_ms: float | None
    provenance: str | None
    measurement_id: str | None
    predictor_id: str | None
    by_block: LatencyByBlock | None


@dataclass(frozen=True, kw_only=True)
class CertificatePart(JsonFields):
    """A certificate of a subnet.

    Args:
        certificate_id: Its id.
        verdict: Verdict of the certificate.
        budget_ms: Budget in milliseconds that it is about.
        measured_latency_ms: Measured latency in milliseconds that it holds.
        provenance: Provenance of that latency.
        device: Name of the device.
        measurement_id: Row of the measurement.
        created_at: When.
        path: Its file; None where it was not written.
        is_missing: Whether the file is gone.
        certificate: What the file says; None where the service may not show it.
    """

    certificate_id: str
    verdict: str
    budget_ms: float
    measured_latency_ms: float | None
    provenance: str | None
    device: str
    measurement_id: str | None
    created_at: str
    path: str | None
    is_missing: bool
    certificate: Mapping[str, object] | None
