"""Settings of fine-tuning a subnet."""

import math
from dataclasses import dataclass

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.train.recipe import Recipe, require_range


@dataclass(frozen=True)
class FinetuneConfig(Recipe):
    """A recipe with distillation.

    The loss is (1−α)·CE + α·T²·KL(teacher ‖ student) + relation matching of query, key and value +
    the error of pooled features.

    Args:
        alpha: Share of the teacher's logits against labels; ignored without a teacher. The default was
            better on the search split than 0.5 at T = 2 (docs/training.md).
        temperature: T of the teacher's logits; high, as a base that was trained on the task's images is
            over-confident on them.
        relation_scale: Of relation matching; 0 for none. It runs the teacher up to its middle block
            in every step.
        relation_weights: Of query, key and value within it (DeViT, arXiv 2309.05015).
        feature_weight: Of the pooled features' relative squared error; 0 for none.
        refit_head: Whether a head for pixels is fitted to the student's own patch tokens before the training.
    """

    alpha: float = 0.9
    temperature: float = 4.0
    relation_scale: float = 0.0
    relation_weights: tuple[float, float, float] = (0.2, 0.1, 0.3)
    feature_weight: float = 0.0
    refit_head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "alpha", 0.0, 1.0)
        require_range(self, "temperature", 1e-3, math.inf)
        for name in ("relation_scale", "feature_weight"):
            require_range(self, name, 0.0, math.inf)
        if len(self.relation_weights) != 3 or min(self.relation_weights) < 0 or max(self.relation_weights) == 0:
            raise NuwaError(f"relation_weights needs three weights >= 0, not all 0, found {self.relation_weights}")
