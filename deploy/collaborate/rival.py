"""What the boards are held against: one subnet on one of them."""

from dataclasses import dataclass

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

_HINT = "nuwa decompose writes such a folder"


@dataclass(frozen=True)
class Rival:
    """The best single subnet on one board within the same budget.

    Args:
        device: Its device.
        predicted_ms: Median latency there; where pixels have classes to the scores of patches, as boards are timed.
        top1: Accuracy on the same images; None where pixels have classes.
        top1_interval: 95 %.
        subnet_id: Its identity; empty where not stored.
        bundle: Its folder, relative to the collaboration's; empty where it was not shipped.
        is_better: Whether it beats the collaboration.
        miou: Mean IoU on the same images, where pixels have classes.
        miou_interval: 95 %.
    """

    device: str
    predicted_ms: float
    top1: float | None
    top1_interval: tuple[float, float] | None = None
    subnet_id: str = ""
    bundle: str = ""
    is_better: bool = False
    miou: float | None = None
    miou_interval: tuple[float, float] | None = None

    @property
    def accuracy(self) -> float:
        """The accuracy that counts: ``miou`` where pixels have classes, else ``top1``."""
        return next(value for value in (self.miou, self.top1, 0.0) if value is not None)

    def __post_init__(self) -> None:
        checked.finite(self.predicted_ms, "predicted_ms of the rival", above=0, high=1e6)
        if (self.top1 is None) == (self.miou is None):
            raise NuwaError("the rival has a top1, or an mIoU where pixels have classes", hint=_HINT)
        for value in (self.top1, self.miou, *(self.miou_interval or ())):
            if value is not None:
                checked.finite(value, "accuracy of the rival", low=0, high=1)
        if self.bundle:
            checked.relative_name(self.bundle, "bundle of the rival")
