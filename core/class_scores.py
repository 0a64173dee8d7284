"""How well a classifier does on labelled images: accuracy, recall of each class, confusion, each with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.metric import Metric
from nuwa_search.core.proportion import mean_share_interval, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor  # a bundle's scores are read without it

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassScores:
    """Counts of a classifier's answers.

    Args:
        confusion: (C, C) images by true class (row) and answer (column).
        is_right: (N,) whether each image was answered right, in the order of the images.
        num_by_class: (C,) images of each class; empty where the rows of ``confusion`` count them all.
    """

    confusion: tuple[tuple[int, ...], ...]
    is_right: tuple[bool, ...]
    num_by_class: tuple[int, ...] = ()

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.num_by_class or tuple(sum(row) for row in self.confusion)

    @property
    def num_images(self) -> int:
        return len(self.is_right)

    @property
    def top1(self) -> float:
        """Share of images answered right, a fraction; 0 of no images."""
        return sum(self.is_right) / self.num_images if self.num_images else 0.0

    @property
    def top1_interval(self) -> Interval:
        """95 % interval of ``top1`` (Wilson)."""
        return wilson_interval(sum(self.is_right), self.num_images)

    @cached_property
    def recall(self) -> tuple[float | None, ...]:
        """Share of each class's images answered right; None for a class without images."""
        return tuple(
            row[k] / count if count else None
            for k, (row, count) in enumerate(zip(self.confusion, self._counts, strict=True))
        )

    @property
    def recall_intervals(self) -> tuple[Interval | None, ...]:
        """95 % interval of each class's recall (Wilson); None for a class without images."""
        return tuple(
            wilson_interval(row[k], count) if count else None
            for k, (row, count) in enumerate(zip(self.confusion, self._counts, strict=True))
        )

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have images: every class counts alike, however few its images."""
        known = [value for value in self.recall if value is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def balanced_interval(self) -> Interval:
        """95 % interval of ``balanced_accuracy``."""
        return mean_share_interval([row[k] for k, row in enumerate(self.confusion)], self._counts)

    def accuracy(self, metric: Metric) -> float:
        """Return the accuracy that counts."""
        return self.top1 if metric == "top1" else self.balanced_accuracy

    def restricted_to(self, outputs: Sequence[int]) -> "ClassScores":
        """Return the scores of a few classes by their output; answers outside them count as wrong, in no column."""
        rows = tuple(tuple(self.confusion[i][j] for j in outputs) for i in outputs)
        return ClassScores(rows, self.is_right, tuple(sum(self.confusion[i]) for i in outputs))

    def of_classes(self, class_names: Sequence[str]) -> "NamedScores":
        """Return what stands beside a top1 in answers, by the names of the classes."""
        return NamedScores(
            balanced_accuracy=self.balanced_accuracy,
            balanced_accuracy_interval=self.balanced_interval,
            recall=dict(zip(class_names, self.recall, strict=True)),
            recall_interval=dict(zip(class_names, self.recall_intervals, strict=True)),
            num_images_by_class=dict(zip(class_names, self._counts, strict=True)),
            confusion=Confusion(tuple(class_names), self.confusion),
        )


@dataclass(frozen=True)
class Confusion:
    """Images by class (row) and answer (column)."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NamedScores(JsonFields):
    """What stands beside a top1: balanced accuracy, recall of each class with its images, both with 95 % intervals."""

    balanced_accuracy: float
    balanced_accuracy_interval: Interval
    recall: Mapping[str, float | None]
    recall_interval: Mapping[str, Interval | None]
    num_images_by_class: Mapping[str, int]
    confusion: Confusion


KEPT_SHARE = 0.95
"""Share of the images answered right that a threshold for "none of these" lets through."""


def none_threshold(logits: "Tensor", labels: "Tensor") -> float | None:
    """Return the probability of the likeliest class below which an answer is better given as "none of these".

    It is the largest that keeps ``KEPT_SHARE`` of the images answered right: the usual maximum-softmax baseline
    (Hendrycks & Gimpel, arXiv 1610.02136). How many strange images it stops is not known without such images.

    Args:
        logits: (N, C) of images that no weight was trained on.
        labels: (N,).

    Returns:
        A probability, or None where nothing was answered right.
    """
    likeliest, answers = logits.double().softmax(dim=1).max(dim=1)
    right = likeliest[answers == labels].sort().values
    if not len(right):
        return None
    return float(right[int((1 - KEPT_SHARE) * len(right))])


def class_scores(logits: "Tensor", labels: "Tensor", *, num_classes: int | None = None) -> ClassScores:
    """Count the answers of a classifier.

    Args:
        logits: (N, C).
        labels: (N,) in 0..num_classes-1.
        num_classes: Rows and columns of the confusion; None for C.
    """
    count = logits.shape[1] if num_classes is None else num_classes
    answers = logits.argmax(dim=1)
    import torch

    pairs = torch.bincount(labels * count + answers, minlength=count * count).reshape(count, count)
    return ClassScores(
        confusion=tuple(tuple(row) for row in pairs.tolist()), is_right=tuple((answers == labels).tolist())
    )
