"""A task: some classes of a data set, split for training, searching and one final test."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.class_names import match_outputs, resolve_classes
from nuwa_search.core.divide import Division, chosen_images, divide, divide_by_seed
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.metric import Metric
from nuwa_search.core.pipeline import (
    FIRST_PIPELINE,
    FIRST_SPLIT_RULE,
    PIPELINE_VERSION,
    SPLIT_RULE,
    WHOLE_DATA_SPLIT_RULE,
)
from nuwa_search.core.tasks.class_choice import chosen_pixel_classes, require_pixels, unseen_classes
from nuwa_search.core.tasks.kind import TaskKind, kind_of


@dataclass(frozen=True)
class Task:
    """Classes and three disjoint splits; labels run 0..len(class_names)-1 in all of them.

    Args:
        data: Where the images came from.
        class_names: In the order of the outputs.
        base_classes: Output of the base for each class; None when the base does not know them all.
        train: For statistics and fine-tuning.
        search: For scoring candidates.
        test: Opened once, after the search.
        search_split_seen_by_base: Whether the base may have been trained on the search split; None
            where the base does not know these classes.
        pipeline: Version of the preprocessing that makes its images network input.
        split_rule: Version of the rule that divided its images.
        notes: What of the data was left out and why, in sentences for people; no part of the task's identity.
        metric: Which accuracy head, scores and winner are chosen by.
    """

    data: str
    class_names: tuple[str, ...]
    base_classes: tuple[int, ...] | None
    train: ImageSet
    search: ImageSet
    test: ImageSet
    search_split_seen_by_base: bool | None
    pipeline: int = PIPELINE_VERSION
    split_rule: int = SPLIT_RULE
    notes: tuple[str, ...] = ()
    metric: Metric = "top1"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def kind(self) -> TaskKind:
        """Whether images have classes, or pixels."""
        return kind_of(self.metric)

    @property
    def task_id(self) -> str:
        """Identify classes, all three splits, how their images are made, and the metric (16 hex digits)."""
        parts = [*self.class_names, self.train.content_hash, self.search.content_hash, self.test.content_hash]
        if self.pipeline != FIRST_PIPELINE:
            parts.append(f"pipeline {self.pipeline}")
        if self.metric != "top1":  # ids of before there was a choice stay
            parts.append(f"metric {self.metric}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make_task(
    splits: Mapping[str, ImageSet],
    *,
    data: str,
    base_labels: Sequence[str],
    classes: Sequence[str | int] | None = None,
    held_out: frozenset[str] = frozenset(),
    division: Division | None = None,
    pipeline: int = PIPELINE_VERSION,
    notes: Sequence[str] = (),
) -> Task:
    """Choose classes and split images into train, search and test, class by class.

    Of images with masks some classes are kept and the rest becomes background; every image stays.

    Args:
        splits: Of what ``nuwa_search.core.dataset.load_dataset`` gave. With ``train`` and ``test`` (or ``val`` in its
            place), a fifth of ``train`` becomes the search split, or ``val`` if there is ``test`` too, or
            the images in ``held_out``; with one split only, a fifth each becomes search and test.
        data: What to call the data.
        base_labels: Label names of the base, to find its outputs for these classes.
        classes: Names or indices in the data set's labels; None for all.
        held_out: Hashes of images the base has not seen in training.
        division: By which rule; None for today's.
        pipeline: Version of the preprocessing (``Preprocess.pipeline``).
        notes: What reading the data left out, to be said with what this leaves out.

    Raises:
        NuwaError: If a class is unknown or has too few images for its splits, or the rule is from a newer version.
    """
    division = division or Division()
    if division.rule > SPLIT_RULE:
        raise NuwaError(
            f"the images of {data} were split by rule {division.rule}, and this nuwa-search knows up to {SPLIT_RULE}",
            hint="pip install --upgrade nuwa-search",
        )
    source = splits.get("train") or splits.get(WHOLE)
    if source is None:
        hint = "; ".join(["add a train split", *notes])  # what was left out may be it
        raise NuwaError(f"{data} has only the splits {', '.join(splits)}, wanted train", hint=hint)
    said = list(notes)
    is_segmentation = source.masks is not None
    if is_segmentation:
        is_shared = division.rule >= WHOLE_DATA_SPLIT_RULE
        splits = chosen_pixel_classes(splits, classes, is_division_shared=is_shared)
        source, classes = splits[WHOLE if "train" not in splits else "train"], None
        chosen = tuple(range(len(source.label_names)))
    elif classes is None:
        classes = [int(k) for k in np.flatnonzero(source.counts())]
        missing = len(source.label_names) - len(classes)
        if missing:
            said.append(f"classes of {data} that have no images to train on are left out: {missing}")
    if not is_segmentation:
        chosen = resolve_classes(classes, source.label_names)
    images = chosen_images(splits, source, chosen, held_out=held_out, data=data)
    is_first = division.rule == FIRST_SPLIT_RULE
    divided = divide_by_seed(images, data=data, seed=division.seed) if is_first else divide(images, data=data)
    if is_segmentation:
        for name, split in (("training", divided.train), ("search", divided.search), ("test", divided.test)):
            require_pixels(split, what=f"{name} images of {data}")
        said += unseen_classes(divided.train, data=data)
    # a head for images says nothing of pixels, whatever its classes are called
    base_classes = None if is_segmentation else match_outputs(source.label_names, chosen, base_labels)
    return Task(
        data=data,
        class_names=tuple(source.label_names[c] for c in chosen),
        base_classes=base_classes,
        train=divided.train,
        search=divided.search,
        test=divided.test,
        search_split_seen_by_base=None if base_classes is None else not divided.is_search_unseen,
        pipeline=pipeline,
        split_rule=division.rule,
        notes=(*said, *divided.notes),
        metric="miou" if is_segmentation else "top1",
    )
