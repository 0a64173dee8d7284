"""Which classes the base takes for which others, and how often each is met: what groups of classes are made from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.fold_name import fold
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.task import Task
from nuwa_search.core.tasks.label_maps import label_map
from nuwa_search.core.tasks.masks import BACKGROUND, IGNORED
from nuwa_search.core.tasks.patch_head import masks_of
from nuwa_search.core.tensors import SplitTensors, size_of_images
from nuwa_search.search.job.inputs import Inputs


@dataclass(frozen=True)
class ClassTable:
    """What is known of a task's classes.

    Args:
        confusion: (C, C) images of each class (row) that the base gives each answer (column); where pixels have
            classes the share of each class's pixels, so that a class of few pixels counts like one of many.
        counts: (C,) training images that each class is in.
    """

    confusion: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def shared_classes(task: Task) -> tuple[int, ...]:
    """Return the classes that belong to no group: the background of pixels, which every sub-model is searched with.

    Empty where images have classes, and where every pixel is of a thing.
    """
    if task.kind == "classification":
        return ()
    return tuple(place for place, name in enumerate(task.class_names) if fold(name) == BACKGROUND)


def grouped_classes(task: Task) -> tuple[int, ...]:
    """Return the classes that are divided among the sub-models."""
    return tuple(sorted(set(range(task.num_classes)) - set(shared_classes(task))))


def class_table(inputs: Inputs) -> ClassTable:
    """Ask the base about the search split, and count the training images."""
    tensors, num_classes = inputs.tensors, inputs.task.num_classes
    logits = tensors.search_logits(inputs.teacher.model)
    if tensors.train.truths is not None:
        met = (tensors.train.truths.class_pixels(num_classes) > 0).sum(axis=0)
        return ClassTable(pixel_confusion(logits, tensors.search), met.astype(np.int64))
    confusion = np.asarray(class_scores(logits, tensors.search.labels).confusion, np.float64)
    return ClassTable(confusion, np.bincount(tensors.train.labels.numpy(), minlength=num_classes))


def pixel_confusion(logits: Tensor, split: SplitTensors) -> npt.NDArray[np.float64]:
    """Share (C, C) of the pixels of each class (row) that were given each answer (column); rows of no pixels are 0.

    Pixels are those of the images as the net takes them; ignored ones are left out.

    Args:
        logits: (N, C, h, w) of patches.
        split: Its images, with masks.
    """
    num_classes, size = logits.shape[1], sides_of(size_of_images(split.images))
    pairs = torch.zeros(num_classes * num_classes, dtype=torch.int64)
    for one, mask in zip(logits, masks_of(split), strict=True):
        is_seen, truth = mask != IGNORED, mask.long()
        answer = label_map(one, size)
        pairs += torch.bincount(truth[is_seen] * num_classes + answer[is_seen], minlength=len(pairs))
    counts = pairs.reshape(num_classes, num_classes).double()
    return np.asarray((counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).numpy())
