"""The uncut base at every image size of a search: what a smaller picture alone gives."""

from dataclasses import dataclass
from typing import Any

from nuwa_search.core.arch import Arch
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.cost import count_macs
from nuwa_search.core.img_size import json_from_img_size
from nuwa_search.core.proportion import interval_of_share


@dataclass(frozen=True)
class SizedScore:
    """How the uncut base does on a few search images at one size.

    Args:
        kl: KL in nats of the base at its own size from it; 0 at that size.
        top1: Share right, with its head as the library had it: shifted to the mean logits of the own size.
        num_images: Images that both figures were taken on.
    """

    kl: float
    top1: float
    num_images: int


@dataclass(frozen=True)
class BaseAtSize:
    """One row of the answer: the base, nothing cut, at one image size.

    Args:
        arch: Shape of the base with the task's head.
        predicted_latency_ms: Predicted median on the first device, in milliseconds.
        predicted_interval_ms: Lower and upper end.
        score: Score on a few search images; None where none was taken.
        test: Score on the test split; only at the base's own size and that of what is shipped, else None.
    """

    arch: Arch
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    score: SizedScore | None = None
    test: ClassScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Render one entry of ``base.at_sizes``."""
        score, test = self.score, self.test
        return {
            "img_size": json_from_img_size(self.arch.img_size),
            "num_tokens": self.arch.num_tokens,
            "arch_id": self.arch.arch_id,
            "macs": count_macs(self.arch),
            "predicted_latency_ms": self.predicted_latency_ms,
            "predicted_interval_ms": list(self.predicted_interval_ms),
            "kl_to_teacher": None if score is None else score.kl,
            "top1_search": None if score is None else score.top1,
            "top1_search_interval": None if score is None else interval_of_share(score.top1, score.num_images),
            "num_images_search": None if score is None else score.num_images,
            "top1": None if test is None else test.top1,
            "top1_interval": None if test is None else list(test.top1_interval),
            "num_images": None if test is None else test.num_images,
        }
