"""What stored latency predictors say: of whole models, and block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.service.api.context import moment
from nuwa_search.store.records import MeasurementRecord, PredictorRecord


class Rebuilt:
    """A stored predictor, rebuilt; hashable by its id, so that the last few are remembered."""

    def __init__(self, record: PredictorRecord) -> None:
        self.record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rebuilt) and other.record.predictor_id == self.record.predictor_id

    def __hash__(self) -> int:
        return hash(self.record.predictor_id)

    def predictor(self) -> LatencyPredictor | None:
        """The predictor; None where the record holds none of this version's form."""
        return _rebuild(self)


@lru_cache(maxsize=16)
def _rebuild(stored: Rebuilt) -> LatencyPredictor | None:
    try:
        return LatencyPredictor.from_dict(stored.record.content["predictor"])
    except (NuwaError, KeyError):
        return None


def model_rows(records: Sequence[MeasurementRecord], stored: PredictorRecord | None) -> list[dict[str, Any]]:
    """List measured models beside their predictions, None where the predictor knows no such nets."""
    predictor = None if stored is None else Rebuilt(stored).predictor()
    fitted = set() if predictor is None else {arch.compact() for arch, _ in predictor.models}
    rows = []
    for record in records:
        assert record.arch is not None
        found = None if predictor is None else _predict(predictor, record.arch)
        low, value, high = (None, None, None) if found is None else (found.lower[0], found.value[0], found.upper[0])
        measured = record.measurement
        rows.append(
            {
                "measurement_id": record.measurement_id,
                "arch_id": record.arch.arch_id,
                "subnet_id": record.subnet_id,
                "measured_latency_ms": measured.latency_ms.median,
                "measured_p95_ms": measured.latency_ms.p95,
                "predicted_latency_ms": None if value is None else float(value),
                "predicted_interval_ms": None if low is None or high is None else [float(low), float(high)],
                "is_fitted": record.arch.compact() in fitted,
                "provenance": measured.provenance,
                "protocol_id": measured.protocol.protocol_id,
                "created_at": moment(record.created_at),
            }
        )
    return rows


def _predict(predictor: LatencyPredictor, arch: Arch) -> Prediction | None:
    try:
        return predictor.predict([arch])
    except NuwaError:  # the table has no row of this kind: another base's nets
        return None


@dataclass(frozen=True)
class BlockLatency:
    """Milliseconds of one block's branches, each as it was measured alone."""

    index: int
    attn_ms: float
    mlp_ms: float


@dataclass(frozen=True)
class LatencyByBlock:
    """A prediction split over blocks; ``overlap_ms`` is what stem and branches leave to it."""

    stem_ms: float
    overlap_ms: float
    predictor_id: str
    blocks: tuple[BlockLatency, ...]


def latency_by_block(stored: PredictorRecord, arch: Arch) -> LatencyByBlock | None:
    """Split a prediction over the blocks of a positional arch; None where the predictor knows no such nets."""
    predictor = Rebuilt(stored).predictor()
    if predictor is None:
        return None
    try:
        encoded, total_ms = (
            predictor.for_tokens(arch.num_tokens).encode([arch]),
            float(predictor.predict([arch]).value[0]),
        )
    except NuwaError:
        return None
    branches = np.maximum(encoded.work, encoded.launch)[0]
    stem_ms = float(encoded.stem[0])
    blocks, place = [], 0
    for index, block in enumerate(arch.blocks):
        attn_ms = mlp_ms = 0.0
        if not block.is_empty:
            attn_ms, mlp_ms = float(branches[2 * place]), float(branches[2 * place + 1])
            place += 1
        blocks.append(BlockLatency(index, attn_ms, mlp_ms))
    overlap_ms = total_ms - stem_ms - float(branches.sum())
    return LatencyByBlock(stem_ms, overlap_ms, stored.predictor_id, tuple(blocks))
