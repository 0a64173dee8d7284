"""How well pixels are told apart: IoU of each class from counts over all images, with a bootstrap over images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.metric import Metric
from nuwa_search.core.tasks.masks import IGNORED, LabelMap

if TYPE_CHECKING:
    from torch import Tensor  # a bundle's scores are read without it

Interval = tuple[float, float]
Counts = npt.NDArray[np.int64]

RESAMPLES = 2000
"""The ends of a 95 % interval then rest on 50 resamples each."""
TAIL = 0.025
"""On either side of a 95 % interval."""


@dataclass(frozen=True, eq=False)
class PixelScores:
    """Pixel counts of each image and class; pixels that are ignored are in none.

    Args:
        hits: (N, C) pixels of a class that were answered with it.
        truths: (N, C) pixels of a class.
        answers: (N, C) pixels that were answered with it.
    """

    hits: Counts
    truths: Counts
    answers: Counts

    top1 = None
    """Images have no class here."""
    top1_interval = None

    @property
    def num_images(self) -> int:
        return len(self.hits)

    @property
    def iou(self) -> tuple[float | None, ...]:
        """Of each class: pixels that truth and answer share, over those that either has; None without true pixels."""
        values = _iou(self.hits.sum(axis=0)[None], self.truths.sum(axis=0)[None], self.answers.sum(axis=0)[None])[0]
        return tuple(None if np.isnan(value) else float(value) for value in values)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that have pixels, a fraction; 0 of no pixels."""
        known = [value for value in self.iou if value is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels answered right; 0 of no pixels."""
        total = int(self.truths.sum())
        return float(self.hits.sum()) / total if total else 0.0

    @cached_property
    def _resampled(self) -> npt.NDArray[np.float64]:
        """IoU of each class over resampled images: (RESAMPLES, C), NaN where the resample has no such pixels.

        Images are drawn, not pixels: those of one image are alike. The same seed draws the same images, so an answer
        does not change from run to run (bootstrap, Efron, 1979).
        """
        rng = np.random.default_rng(0)
        share = np.full(self.num_images, 1 / max(1, self.num_images))
        draws = rng.multinomial(self.num_images, share, size=RESAMPLES).astype(np.float64)
        return _iou(draws @ self.hits, draws @ self.truths, draws @ self.answers)

    @property
    def miou_interval(self) -> Interval:
        """95 % interval of ``miou``; 0 to 1 of no pixels."""
        if not self.truths.any():
            return 0.0, 1.0
        values = self._resampled_miou
        return _ends(values[~np.isnan(values)])

    @cached_property
    def _resampled_miou(self) -> npt.NDArray[np.float64]:
        """``miou`` over the same resampled images: (RESAMPLES,), NaN where the resample has no true pixel."""
        is_known = ~np.isnan(self._resampled)
        counts = is_known.sum(axis=1)
        sums = np.where(is_known, self._resampled, 0.0).sum(axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def ahead_of(self, other: "PixelScores") -> tuple[float, float, float]:
        """By how much ``miou`` is above another's on the same images, with its 95 % interval: middle, low, high.

        Both are resampled alike, so what the images have in common cancels (paired bootstrap).
        """
        differences = self._resampled_miou - other._resampled_miou
        known = differences[~np.isnan(differences)]
        return self.miou - other.miou, *(_ends(known) if len(known) else (-1.0, 1.0))

    @property
    def iou_intervals(self) -> tuple[Interval | None, ...]:
        """95 % interval of each class's IoU; None for a class without pixels."""
        columns = (column[~np.isnan(column)] for column in self._resampled.T)
        return tuple(_ends(column) if len(column) else None for column in columns)

    def accuracy(self, metric: Metric) -> float:  # noqa: ARG002 - as of scores of whole images
        """Return the accuracy that counts."""
        return self.miou

    def of_classes(self, class_names: Sequence[str]) -> "NamedPixelScores":
        """Return what stands in answers, by the names of the classes."""
        images = (self.truths > 0).sum(axis=0).tolist()
        return NamedPixelScores(
            miou=self.miou,
            miou_interval=self.miou_interval,
            pixel_accuracy=self.pixel_accuracy,
            iou=dict(zip(class_names, self.iou, strict=True)),
            iou_interval=dict(zip(class_names, self.iou_intervals, strict=True)),
            num_images_by_class=dict(zip(class_names, images, strict=True)),
            classes_without_pixels=tuple(n for n, v in zip(class_names, self.iou, strict=True) if v is None),
        )


@dataclass(frozen=True, kw_only=True)
class NamedPixelScores(JsonFields):
    """What an answer says of pixels: mIoU and IoU of each class with 95 % intervals, and what has no pixels."""

    miou: float
    miou_interval: Interval
    pixel_accuracy: float
    iou: Mapping[str, float | None]
    iou_interval: Mapping[str, Interval | None]
    num_images_by_class: Mapping[str, int]
    classes_without_pixels: tuple[str, ...]


def _iou(
    hits: npt.NDArray[np.number], truths: npt.NDArray[np.number], answers: npt.NDArray[np.number]
) -> npt.NDArray[np.float64]:
    """IoU of counts (R, C): (R, C), NaN where no pixel is of the class."""
    union = (truths + answers - hits).astype(np.float64)
    found = hits / np.where(union > 0, union, 1.0)
    return np.where(truths > 0, found, np.nan)


def _ends(values: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    return float(low), float(high)


class PixelTally:
    """Counts image after image.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._rows: list[tuple[Counts, Counts, Counts]] = []

    def add(self, logits: "Tensor", truth: LabelMap) -> None:
        """Count one image: logits (C, h, w) against classes (H, W) at the mask's own size."""
        from nuwa_search.core.tasks.label_maps import label_map  # torch

        answer = label_map(logits, (truth.shape[0], truth.shape[1])).cpu().numpy()
        self.add_answer(answer, truth)

    def add_answer(self, answer: npt.NDArray[np.integer], truth: LabelMap) -> None:
        """Count one image whose answer is there already: (H, W) classes each."""
        is_seen = truth != IGNORED
        true, said = truth[is_seen], answer[is_seen]
        count = self._num_classes
        self._rows.append(
            (
                np.bincount(true[true == said], minlength=count),
                np.bincount(true, minlength=count),
                np.bincount(said, minlength=count),
            )
        )

    def scores(self) -> PixelScores:
        """Return the counts of all images, in the order they came."""
        empty = np.zeros((0, self._num_classes), dtype=np.int64)
        columns = zip(*self._rows, strict=True) if self._rows else ([], [], [])
        return PixelScores(*(np.stack(column) if len(column) else empty for column in columns))
