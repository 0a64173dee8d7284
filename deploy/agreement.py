"""How far an exported model agrees with the PyTorch model; read without torch."""

import math
from dataclasses import dataclass
from typing import Any

from nuwa_search.core.device import Precision
from nuwa_search.core.json_fields import JsonFields


@dataclass(frozen=True)
class Agreement(JsonFields):
    """How far two models' logits are apart on the same images.

    Args:
        check: Precision that was computed in.
        runtime: Name and version of what ran the exported model.
        num_images: Images compared.
        max_abs_error: Largest difference of any logit; infinite if the exported model gave no number.
        error_limit: Largest ``max_abs_error`` allowed; None where only predictions count.
        min_cosine: Smallest cosine between the two logit vectors of an image.
        argmax_agreement: Share of images with the same prediction (fraction); in FP32 and FP16 another one is the same
            where the model's logits of both are nearer to each other than that precision can tell.
        argmax_limit: Smallest ``argmax_agreement`` allowed.
        cosine_limit: Smallest ``min_cosine`` allowed; None sets none.
        artifact_sha256: Of the file that ran, where it is another than the exported model; empty where it is not.
    """

    check: Precision
    runtime: str
    num_images: int
    max_abs_error: float
    error_limit: float | None
    min_cosine: float
    argmax_agreement: float
    argmax_limit: float
    cosine_limit: float | None = None
    artifact_sha256: str = ""

    @property
    def is_met(self) -> bool:
        """Whether every limit holds."""
        within = self.error_limit is None or self.max_abs_error <= self.error_limit
        within = within and (self.cosine_limit is None or self.min_cosine >= self.cosine_limit)
        return within and self.argmax_agreement >= self.argmax_limit and math.isfinite(self.max_abs_error)

    def to_json(self) -> dict[str, Any]:
        """Render it; an infinite error becomes null, because JSON has no infinity."""
        error = self.max_abs_error if math.isfinite(self.max_abs_error) else None
        return {**super().to_json(), "max_abs_error": error, "is_met": self.is_met}
