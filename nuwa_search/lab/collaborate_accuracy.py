"""Labelled images for boards that answer together, and how many of them are answered right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nuwa_search.core.dataset import load_dataset, pick_split
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.tasks.class_choice import require_pixels
from nuwa_search.core.tasks.kind import TaskChoice
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.layout import Collaboration


def labelled_images(
    collaboration: Collaboration,
    data: str | Path,
    *,
    split: str | None,
    label_column: str | None,
    count: int,
    seed: int,
) -> ImageSet:
    """Draw images whose classes, or those of their pixels, are among the labels.

    Args:
        collaboration: Whose labels.
        data: Images in a folder or in Parquet files.
        split: Which; None for ``test``, or the only one.
        label_column: Of Parquet files.
        count: Images at most.
        seed: Of the draw.

    Raises:
        NuwaError: If images have classes and the boards answer for pixels or the other way round, no class
            is known, or no pixel of the masks has one.
    """
    kind: TaskChoice = "auto" if collaboration.grid is None else "segmentation"
    name, found = pick_split(load_dataset(str(data), label_column=label_column, task=kind).splits, split)
    if (found.masks is not None) != (collaboration.grid is not None):
        has, wants = ("a class for each pixel", "for each image") if found.masks is not None else (
            "a class for each image", "for each pixel"
        )  # fmt: skip
        raise NuwaError(f"{data} has {has}, and these boards answer {wants}", hint="name images of the same task")
    if collaboration.grid is not None:
        from nuwa_search.deploy.evaluate_pixels import numbered_as

        kept = numbered_as(found, collaboration.labels, split=name, what="the collaboration")
        require_pixels(kept, what=f"{name} images of {data}")
    else:
        classes = [place for place, label in enumerate(found.label_names) if label in collaboration.labels]
        if not classes:
            raise NuwaError(f"{data} has none of the collaboration's classes", hint="name the images it was made for")
        kept = found.only(classes)
    return kept.take(np.sort(np.random.default_rng(seed).permutation(len(kept))[:count]))


def accuracy_fields(
    answers: Sequence[CollaborativeAnswer], source: ImageSet, collaboration: Collaboration
) -> dict[str, Any]:
    """Score answers to labelled images: the fields of ``CollaborateBench`` that are about accuracy."""
    if collaboration.grid is None:
        known = {name: place for place, name in enumerate(collaboration.labels)}
        wanted = [known[source.label_names[int(label)]] for label in source.labels]
        hits = sum(answer.class_index == label for answer, label in zip(answers, wanted, strict=True))
        return {"top1": hits / len(answers), "top1_interval": wilson_interval(hits, len(answers))}
    from nuwa_search.lab.collaborate_pixels import count_pixels

    found = count_pixels(answers, source, num_classes=len(collaboration.labels))
    return {
        "top1": None,
        "top1_interval": None,
        "metric": "miou",
        "miou": found.miou,
        "miou_interval": found.miou_interval,
        "pixel_accuracy": found.pixel_accuracy,
        "classes_without_pixels": found.of_classes(collaboration.labels).classes_without_pixels,
    }
