"""Scores of a model on the test split, as a bundle tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nuwa_search.core.class_scores import ClassScores, Confusion
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.tasks.pixel_scores import PixelScores

MAX_CONFUSION_CLASSES = 100
"""Of a confusion matrix in a certificate: a thousand classes would make it a file of millions of numbers."""


@dataclass(frozen=True)
class ScoreFacts(JsonFields):
    """What stands beside a top1, under the names that the answer of a search has.

    Args:
        top1: Fraction.
        top1_interval: 95 % interval of it.
        num_images: Images of the split.
        balanced_accuracy: Mean recall, a fraction.
        balanced_accuracy_interval: 95 % interval of it.
        recall: By class, fractions; None for a class without images.
        recall_interval: 95 % interval of each.
        num_images_by_class: Images of each.
        confusion: None with more than ``MAX_CONFUSION_CLASSES`` classes.
    """

    top1: float
    top1_interval: tuple[float, float]
    num_images: int
    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float]
    recall: Mapping[str, float | None]
    recall_interval: Mapping[str, tuple[float, float] | None]
    num_images_by_class: Mapping[str, int]
    confusion: Confusion | None = None


@dataclass(frozen=True)
class PixelFacts(JsonFields):
    """Scores of a model on the masks of the test split, under the names that the answer of a search has.

    Args:
        miou: Mean IoU over the classes that have pixels, a fraction.
        miou_interval: 95 % interval of it, by a bootstrap over images.
        num_images: Images of the split.
        pixel_accuracy: Share of pixels answered right.
        iou: By class, fractions; None for a class without pixels.
        iou_interval: 95 % interval of each.
        num_images_by_class: Images that hold pixels of each.
        classes_without_pixels: What the mean leaves out.
    """

    miou: float
    miou_interval: tuple[float, float]
    num_images: int
    pixel_accuracy: float
    iou: Mapping[str, float | None]
    iou_interval: Mapping[str, tuple[float, float] | None]
    num_images_by_class: Mapping[str, int]
    classes_without_pixels: tuple[str, ...] = ()


def pixel_facts(scores: PixelScores, class_names: Sequence[str]) -> PixelFacts:
    """Take over the scores of a model on the masks of the test split."""
    return PixelFacts(num_images=scores.num_images, **vars(scores.of_classes(class_names)))


def score_facts(scores: ClassScores, class_names: Sequence[str]) -> ScoreFacts:
    """Take over the scores of a model on the test split."""
    values = vars(scores.of_classes(class_names))
    if len(class_names) > MAX_CONFUSION_CLASSES:
        values = values | {"confusion": None}
    return ScoreFacts(top1=scores.top1, top1_interval=scores.top1_interval, num_images=scores.num_images, **values)
