"""Result of a quantisation, as a bundle records it."""

from dataclasses import dataclass
from typing import ClassVar

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.metric import Metric


@dataclass(frozen=True)
class BlockFacts:
    """Effect of INT8 in one block alone.

    Args:
        block: Place in the arch, blocks that are gone counted.
        relative_error: Mean squared error of the logits over their variance.
        argmax_agreement: Fraction of images with the same prediction.
    """

    block: int
    relative_error: float
    argmax_agreement: float


@dataclass(frozen=True)
class Int8Facts(JsonFields):
    """Whether INT8 was taken, and why.

    Args:
        accepted: Whether INT8 was taken.
        reason: Why, or why not.
        max_loss: Largest loss of accuracy, by ``metric``, that was allowed (fraction).
        latency_ratio: INT8 over the plain graph; None where not both were measured.
        latency_ms: Median of the INT8 graph; None where it was not measured.
        plain_latency_ms: Median of the plain graph.
        top1_search: Fraction on the search split in INT8; None where accuracy ruled it out.
        plain_top1_search: The same of the plain graph.
        num_search: Search images.
        num_calibration: Training images that the ranges come from.
        float_blocks: Places of blocks that stayed in floating point.
        sensitivity: Of each block.
        metric: Which accuracy was held against ``max_loss``.
        balanced_search: Balanced accuracy (fraction) on the search split in INT8; None as ``top1_search``.
        plain_balanced_search: The same of the plain graph.
        miou_search: mIoU on the search split in INT8, where pixels have classes; None as ``top1_search``.
        miou_search_interval: 95 % of it.
        plain_miou_search: The same of the plain graph.
        plain_miou_search_interval: 95 % of it.
    """

    LEFT_OUT: ClassVar = (  # bundles of before do not have them
        *("metric", "balanced_search", "plain_balanced_search"),
        *("miou_search", "miou_search_interval", "plain_miou_search", "plain_miou_search_interval"),
    )

    accepted: bool
    reason: str
    max_loss: float
    latency_ratio: float | None
    latency_ms: float | None
    plain_latency_ms: float
    top1_search: float | None
    plain_top1_search: float | None
    num_search: int
    num_calibration: int
    float_blocks: tuple[int, ...] | None
    sensitivity: tuple[BlockFacts, ...] | None
    metric: Metric = "top1"
    balanced_search: float | None = None
    plain_balanced_search: float | None = None
    miou_search: float | None = None
    miou_search_interval: tuple[float, float] | None = None
    plain_miou_search: float | None = None
    plain_miou_search_interval: tuple[float, float] | None = None
