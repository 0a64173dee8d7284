"""What an export is asked for, its device aside."""

from dataclasses import dataclass
from typing import Literal

from nuwa_search.core.budget_statistic import BudgetStatistic
from nuwa_search.core.device import Precision


@dataclass(frozen=True)
class ExportWishes:
    """How a bundle is exported for a device.

    Args:
        precision: What the model computes in; None for the device's own, and ``int8`` is kept only where it is
            measured to pay.
        max_loss: Accuracy that INT8 may lose on the search split, a fraction.
        input_kind: What the graph takes: ``normalised`` images, or ``unit`` (0..1) or ``uint8`` pixels.
        output_kind: What it gives where pixels have classes: ``logits`` of each, or ``labels``.
        trim_tokens: Drop tokens that no output depends on: same logits, less work.
        budget_ms: Latency to hold; None takes over the one that was certified for the same device.
        budget_statistic: Of the budget; None likewise.
        base: Whose split the images for INT8 are from; None for the one that the bundle names.
        data: Those images; None for those that the bundle names.
        label_column: Of Parquet files.
        seed: Of measurement and split.
    """

    precision: Precision | None = None
    max_loss: float = 0.01
    input_kind: Literal["normalised", "unit", "uint8"] = "normalised"
    output_kind: Literal["logits", "labels"] = "logits"
    trim_tokens: bool = False
    budget_ms: float | None = None
    budget_statistic: BudgetStatistic | None = None
    base: str | None = None
    data: str | None = None
    label_column: str | None = None
    seed: int = 0
