"""A way to use the boards, with what it was predicted and scored to do."""

from dataclasses import dataclass
from typing import Literal

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

MODES = ("fuse", "any", "route")
Mode = Literal["fuse", "any", "route"]
_HINT = "nuwa decompose writes such a folder"


@dataclass(frozen=True)
class RoutedShare:
    """One way that routed images took on the search split.

    Args:
        share: Of the images.
        rounds: Sub-models by index: those of one round are asked at once, the next round when all of them answered.
    """

    share: float
    rounds: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        checked.finite(self.share, "share of routed images", low=0, high=1)
        if not self.rounds or not all(self.rounds):
            raise NuwaError("a way of routed images asks nobody", hint=_HINT)


@dataclass(frozen=True)
class ModeFigures:
    """What one way of using the boards was predicted and scored to do.

    Args:
        mode: ``fuse`` waits for all boards, ``any`` for the first ``needed`` sub-models, ``route`` asks one sub-model
            and others only where it is unsure.
        predicted_p50_ms: Median latency of one image, end to end.
        predicted_p95_ms: 95th percentile of the same.
        predicted_mean_ms: Mean of the same; ``route`` is judged by it.
        bytes_per_image: Mean bytes of payload per image, both ways together.
        needed: For ``any``: how many sub-models must have answered.
        first: For ``route``: index of the sub-model that is asked first.
        thresholds: For ``route``: the first sub-model's answer is taken where its probability is at least the first
            threshold. Else the expert of the likeliest group is asked, and the two are fused; with a second
            threshold, the rest is asked where the two fused are below it, and everybody at once where it is above 1.
            Where the first is that expert itself, its answer is taken; with a third threshold only where its
            probability is at least that, and else everybody is asked at once.
        top1: Accuracy; None where pixels have classes.
        top1_interval: 95 %.
        num_images: Number of images that it was scored on.
        split: Split of these images.
        steps: For ``route``: shares of the images by whom they were asked of, from which it is predicted on another
            network; empty in folders of before.
        miou: Mean IoU over the classes, where pixels have classes.
        miou_interval: 95 %.
    """

    mode: Mode
    predicted_p50_ms: float
    predicted_p95_ms: float
    predicted_mean_ms: float
    bytes_per_image: float
    needed: int | None = None
    first: int | None = None
    thresholds: tuple[float, ...] = ()
    top1: float | None = None
    top1_interval: tuple[float, float] | None = None
    num_images: int = 0
    split: str = ""
    steps: tuple[RoutedShare, ...] = ()
    miou: float | None = None
    miou_interval: tuple[float, float] | None = None

    @property
    def accuracy(self) -> float | None:
        """The accuracy that counts: ``miou`` where pixels have classes, else ``top1``."""
        return self.top1 if self.miou is None else self.miou

    def __post_init__(self) -> None:
        low = checked.finite(self.predicted_p50_ms, f"predicted_p50_ms of {self.mode}", above=0, high=1e6)
        checked.finite(self.predicted_p95_ms, f"predicted_p95_ms of {self.mode}", low=low, high=1e6)
        checked.finite(self.predicted_mean_ms, f"predicted_mean_ms of {self.mode}", above=0, high=1e6)
        checked.finite(self.bytes_per_image, f"bytes_per_image of {self.mode}", low=0)
        checked.integer(self.num_images, f"num_images of {self.mode}", low=0)
        for value in (self.top1, *(self.top1_interval or ()), self.miou, *(self.miou_interval or ())):
            if value is not None:
                checked.finite(value, f"accuracy of {self.mode}", low=0, high=1)
        for value in self.thresholds:
            checked.finite(value, f"threshold of {self.mode}", low=0, high=1.01)  # above 1: never sure
        is_route, is_any = self.mode == "route", self.mode == "any"
        if (self.first is not None) != is_route or (len(self.thresholds) in (1, 2, 3)) != is_route:
            raise NuwaError("route, and no other mode, has a first sub-model and one to three thresholds", hint=_HINT)
        if self.steps and (not is_route or abs(sum(step.share for step in self.steps) - 1) > 1e-6):
            raise NuwaError("the ways of routed images must sum to 1, and only route has them", hint=_HINT)
        if (self.needed is not None) != is_any:
            raise NuwaError("any, and no other mode, says how many sub-models are needed", hint=_HINT)
