"""What the document of a subnet is put together from."""

from collections.abc import Mapping
from dataclasses import dataclass

from nuwa_search.core.arch import EMPTY_BLOCK, Arch
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.service.api.predictions import LatencyByBlock


@dataclass(frozen=True, kw_only=True)
class BlockPart:
    """A block beside the base's; shares are of widths, 0 to 1."""

    index: int
    kept: bool
    num_heads: int
    qk_dim: int
    v_dim: int
    mlp_width: int
    base_num_heads: int
    base_qk_dim: int
    base_v_dim: int
    base_mlp_width: int
    attn_share: float
    mlp_share: float


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
        verdict: Of it.
        budget_ms: That it is about.
        measured_latency_ms: That it holds.
        provenance: Of that.
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


def block_parts(arch: Arch, base: Arch) -> list[BlockPart]:
    """Put each block of a positional arch beside the base's."""
    parts = []
    for index, theirs in enumerate(base.blocks):
        mine = arch.blocks[index] if index < len(arch.blocks) else EMPTY_BLOCK
        whole = theirs.num_heads * (theirs.qk_dim + theirs.v_dim)
        parts.append(
            BlockPart(
                index=index,
                kept=not mine.is_empty,
                num_heads=mine.num_heads,
                qk_dim=mine.qk_dim,
                v_dim=mine.v_dim,
                mlp_width=mine.mlp_width,
                base_num_heads=theirs.num_heads,
                base_qk_dim=theirs.qk_dim,
                base_v_dim=theirs.v_dim,
                base_mlp_width=theirs.mlp_width,
                attn_share=mine.num_heads * (mine.qk_dim + mine.v_dim) / whole if whole else 0.0,
                mlp_share=mine.mlp_width / theirs.mlp_width if theirs.mlp_width else 0.0,
            )
        )
    return parts
