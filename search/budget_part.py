"""What an answer says of one device's budget."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.device import DeviceSpec, Measurement
from nuwa_search.search.repair import Reading


@dataclass(frozen=True)
class BudgetPart:
    """One device with its budget, and what came of it there.

    Args:
        device: The device.
        budget: Of the request.
        base: The base with the task's head, measured there.
        predictor_id: Latency predictor that the search started from.
        reading: The last winner there; None where none was measured.
        fastest: What is fastest there, with its predicted milliseconds; None where the budget can be kept.
        nearest_ms: Predicted milliseconds of what comes nearest to keeping all budgets, where each can be kept alone.
        dir: Folder of the bundle for this device; None where none was written.
        certificate: Its certificate.
    """

    device: DeviceSpec
    budget: Budget
    base: Measurement
    predictor_id: str
    reading: Reading | None = None
    fastest: tuple[Arch, float] | None = None
    nearest_ms: float | None = None
    dir: Path | None = None
    certificate: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Render one entry of the ``budgets`` part."""
        found = None if self.reading is None else self.reading.measurement
        board_interval_ms = None if found is None else found.board_interval_ms
        values: dict[str, Any] = {
            "device": self.device.name,
            "budget_ms": self.budget.ms,
            "budget_binds": self.budget.check(self.base).exceeds("latency"),
            "predictor_id": self.predictor_id,
            "base_latency_ms": self.base.latency_ms.median,
            "predicted_latency_ms": None if self.reading is None else self.reading.predicted_latency_ms,
            "predicted_interval_ms": None if self.reading is None else list(self.reading.predicted_interval_ms),
            "board_interval_ms": None if board_interval_ms is None else list(board_interval_ms),
            "measured_latency_ms": None if found is None else found.latency_ms.median,
            "measured_p95_ms": None if found is None else found.latency_ms.p95,
            "provenance": self.device.provenance if found is None else found.provenance,
            "met": None if self.reading is None else self.reading.verdict.is_met,
            "verdict": None if self.reading is None else self.reading.verdict.word,
            "dir": None if self.dir is None else str(self.dir),
            "certificate": None if self.certificate is None else str(self.certificate),
        }
        if self.fastest is not None:
            arch, predicted_ms = self.fastest
            values["fastest"] = {"arch_id": arch.arch_id, "predicted_latency_ms": predicted_ms}
        if self.nearest_ms is not None:
            values["nearest_predicted_latency_ms"] = self.nearest_ms
        return values
