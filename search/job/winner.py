"""What is shipped, and how accurate it is on the test split."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.class_scores import ClassScores, class_scores, none_threshold
from nuwa_search.core.decided_logits import decided_logits
from nuwa_search.core.heads import fit_head
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.known_outputs import KnownOutputs, net_key
from nuwa_search.core.tasks.scores import TaskScores
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.deploy.train.score import SplitScore, score_known, tally_pixels
from nuwa_search.search.job.compared_files import compared_files
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
        all_classes: Scores of the base with its whole head; None where it lacks the classes.
        restricted: Scores of the base with the task's head.
        derived: Scores of what is shipped, before fine-tuning.
        shipped: Scores of what is shipped, after fine-tuning.
        lost: What the base had right and what is shipped has wrong.
        none_below: Probability below which an answer is none of the classes, from the search split.
        compared: Files for the bundle: test images with truth, base and what is shipped side by side.
        sized_base: Of the uncut base at the image size of what is shipped; None where that is the base's own.
    """

    all_classes: ClassScores | None
    restricted: TaskScores
    derived: TaskScores
    shipped: TaskScores
    lost: LostImages
    none_below: float | None = None
    sized_base: ClassScores | None = None
    compared: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Shipped:
    """The winner of the search or, where it is more accurate and fast enough, the base or a small ViT.

    Args:
        arch: Its shape.
        model: Model as it is shipped.
        derived: Model before fine-tuning.
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
    tensors = inputs.tensors_for(shipped.arch)
    own = test if tensors is inputs.tensors else split_tensors(task.test, tensors.preprocess)

    found = KnownOutputs()  # what is shipped may be what was derived, or the base

    def logits(model: PlainViT, labels: Tensor) -> Tensor:
        split = test if model.arch.img_size == base.arch.img_size else own
        return found.get((net_key(model),), lambda: decided_logits(model, split.images, base.preprocess, labels=labels))

    all_classes = None
    if task.base_classes is not None:
        among_all = torch.tensor(task.base_classes)[test.labels]
        all_classes = class_scores(logits(base.model, among_all), among_all)
    theirs, ours = logits(inputs.teacher.model, test.labels), logits(shipped.model, test.labels)
    known = tensors.search_logits(shipped.model)
    sized = None
    if tensors is not inputs.tensors:
        sized = SizedBase(inputs, shipped.arch.img_size).on(own)
    return Accuracies(
        all_classes=all_classes,
        restricted=class_scores(theirs, test.labels),
        derived=class_scores(logits(shipped.derived, test.labels), test.labels),
        shipped=class_scores(ours, test.labels),
        lost=lost_images(task.test, theirs, ours, data=task.data),
        none_below=none_threshold(known, tensors.search.labels),
        sized_base=sized,
    )


@dataclass(frozen=True)
class SizedBase:
    """The uncut base at the size of what is shipped, so that the cut is not credited with what a smaller image does.

    A head that was fitted is fitted again at that size, as a search that loads the base there would do.
    """

    inputs: Inputs
    img_size: ImgSize

    def on(self, test: SplitTensors) -> ClassScores:
        """Score it on the test split, decoded at its size."""
        preprocess = self.inputs.sized.preprocess(self.img_size)
        logits = decided_logits(self.model(), test.images, preprocess, labels=test.labels)
        return class_scores(logits, test.labels)

    def model(self) -> PlainViT:
        """Make it: positions resampled, and the head fitted again where it was fitted."""
        inputs = self.inputs
        model = vit_at_size(inputs.teacher.model, self.img_size, name="the base")
        if not inputs.teacher.has_fitted_head:
            return model
        return fit_head(
            model,
            inputs.sized.train(self.img_size),
            inputs.sized.preprocess(self.img_size),
            num_classes=inputs.task.num_classes,
            metric=inputs.task.metric,
        )


def _pixel_accuracies(inputs: Inputs, shipped: Shipped, test: SplitTensors) -> Accuracies:
    """Count the pixels of the test split, at each mask's own size.

    An image is lost where its answer shares fewer pixels with the truth than the base's: that is no yes or no, and none
    is listed.
    """
    models = (inputs.teacher.model, shipped.derived, shipped.model)
    base, derived, ours = (tally_pixels(model, test, inputs.base.preprocess)[0].scores() for model in models)
    compared = compared_files(inputs, shipped.model, test)
    return Accuracies(None, base, derived, ours, LostImages(0, 0, ()), compared=compared)


def score_on(model: PlainViT, inputs: Inputs) -> SplitScore:
    """Score ``model`` on the search split by the task's metric."""
    tensors = inputs.tensors_for(model.arch)
    return score_known(tensors.search_logits(model), tensors.search, metric=inputs.task.metric)
