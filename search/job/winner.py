"""What is shipped, and how accurate it is on the test split."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.class_scores import ClassScores, class_scores, none_threshold
from nuwa_search.core.known_outputs import KnownOutputs, net_key
from nuwa_search.core.tasks.scores import TaskScores
from nuwa_search.core.tensors import SplitTensors, logits_of, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.score import SplitScore, score_known, tally_pixels
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.lost import lost_images
from nuwa_search.search.lost_images import LostImages
from nuwa_search.search.result import ShippedKind


@dataclass(frozen=True)
class Entrant:
    """What may be shipped once it is fine-tuned: the search's winner, or the small alternative."""

    kind: ShippedKind
    arch: Arch
    model: PlainViT
    subnet_id: str
    derivation: Mapping[str, object]


@dataclass(frozen=True)
class Accuracies:
    """Scores on the test split, opened once.

    Args:
        all_classes: Of the base with its whole head; None where it lacks the classes.
        restricted: Of the base with the task's head.
        derived: Of what is shipped, before fine-tuning.
        shipped: And after.
        lost: What the base had right and what is shipped has wrong.
        none_below: Probability below which an answer is none of the classes, from the search split.
    """

    all_classes: ClassScores | None
    restricted: TaskScores
    derived: TaskScores
    shipped: TaskScores
    lost: LostImages
    none_below: float | None = None


@dataclass(frozen=True)
class Shipped:
    """The winner of the search or, where it is more accurate and fast enough, the base or a small ViT.

    Args:
        arch: Its shape.
        model: As it is shipped.
        derived: Before fine-tuning.
        kind: Where it is from.
        subnet_id: Identifies it in the database.
        derivation: How it was made, as it is stored.
    """

    arch: Arch
    model: PlainViT
    derived: PlainViT
    kind: ShippedKind
    subnet_id: str
    derivation: Mapping[str, object]


def test_accuracies(inputs: Inputs, shipped: Shipped) -> Accuracies:
    """Open the test split, once: the base with all classes and restricted, and what is shipped."""
    base, task = inputs.base, inputs.task
    test = split_tensors(task.test, base.preprocess)
    if task.kind == "segmentation":
        return _pixel_accuracies(inputs, shipped, test)

    found = KnownOutputs()  # what is shipped may be what was derived, or the base

    def logits(model: PlainViT) -> Tensor:
        return found.get((net_key(model),), lambda: logits_of(model, test.images, base.preprocess))

    all_classes = None
    if task.base_classes is not None:
        all_classes = class_scores(logits(base.model), torch.tensor(task.base_classes)[test.labels])
    theirs, ours = logits(inputs.teacher.model), logits(shipped.model)
    known = inputs.tensors.search_logits(shipped.model)
    return Accuracies(
        all_classes=all_classes,
        restricted=class_scores(theirs, test.labels),
        derived=class_scores(logits(shipped.derived), test.labels),
        shipped=class_scores(ours, test.labels),
        lost=lost_images(task.test, theirs, ours, data=task.data),
        none_below=none_threshold(known, inputs.tensors.search.labels),
    )


def _pixel_accuracies(inputs: Inputs, shipped: Shipped, test: SplitTensors) -> Accuracies:
    """Count the pixels of the test split, at each mask's own size.

    An image is lost where its answer shares fewer pixels with the truth than the base's: that is no yes or no, and none
    is listed.
    """
    models = (inputs.teacher.model, shipped.derived, shipped.model)
    base, derived, ours = (tally_pixels(model, test, inputs.base.preprocess)[0].scores() for model in models)
    return Accuracies(None, base, derived, ours, LostImages(0, 0, ()))


def score_on(model: PlainViT, inputs: Inputs) -> SplitScore:
    """Score ``model`` on the search split, in FP32, by the task's metric."""
    logits = inputs.tensors.search_logits(model)
    return score_known(logits, inputs.tensors.search, metric=inputs.task.metric)
