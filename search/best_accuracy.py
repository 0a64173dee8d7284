"""The best-founded accuracy that is known of a subnet, with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.store.records import ScoreRecord

_FINAL = {"top1": "top1", "miou": "miou"}
_DERIVED = {"top1_derived": "top1", "miou_derived": "miou"}


@dataclass(frozen=True, kw_only=True)
class BestAccuracy(JsonFields):
    """An accuracy.

    Args:
        metric: ``top1`` of images, or ``miou`` where pixels have classes.
        value: A fraction.
        interval: 95 %; None where it is not known.
        split: ``test`` or ``search``.
        num_images: Images that it was taken on.
        is_final: Whether of the weights that were shipped; else of those before any fine-tuning.
    """

    metric: Literal["top1", "miou"]
    value: float
    interval: tuple[float, float] | None
    split: str
    num_images: int
    is_final: bool


def best_accuracy(scores: Sequence[ScoreRecord], answer: Mapping[str, Any] | None) -> BestAccuracy | None:
    """Choose among the scores of a subnet: final weights before derived ones, the test split before the search split.

    Args:
        scores: Of the subnet, oldest first.
        answer: What the search that shipped it says of it (``subnet`` of `nuwa.search/1`), which alone knows the
            interval of a mean IoU; None where none did.
    """
    known = [score for score in scores if score.kind in (*_FINAL, *_DERIVED) and score.split in ("test", "search")]
    if not known:
        return None
    best = max(enumerate(known), key=lambda one: (one[1].kind in _FINAL, one[1].split == "test", one[0]))[1]
    metric: Literal["top1", "miou"] = "miou" if best.kind.startswith("miou") else "top1"
    if metric == "top1":
        ends = interval_of_share(best.value, best.num_images)
    else:
        is_told = answer is not None and best.split == "test" and answer.get(best.kind) == best.value
        ends = answer.get(f"{best.kind}_interval") if answer is not None and is_told else None
    return BestAccuracy(
        metric=metric,
        value=best.value,
        interval=None if ends is None else (ends[0], ends[1]),
        split=best.split,
        num_images=best.num_images,
        is_final=best.kind in _FINAL,
    )
