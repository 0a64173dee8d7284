"""A task: some classes of a data set, split for training, searching and one final test."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.class_names import match_outputs, resolve_classes
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.pipeline import FIRST_PIPELINE, PIPELINE_VERSION, SPLIT_RULE

Mask = npt.NDArray[np.bool_]

SEARCH_FRACTION = 0.2
TEST_FRACTION = 0.2


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

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def task_id(self) -> str:
        """Identify classes, all three splits and how their images are made (16 hex digits)."""
        parts = [*self.class_names, self.train.content_hash, self.search.content_hash, self.test.content_hash]
        if self.pipeline != FIRST_PIPELINE:
            parts.append(f"pipeline {self.pipeline}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make_task(
    splits: Mapping[str, ImageSet],
    *,
    data: str,
    base_labels: Sequence[str],
    classes: Sequence[str | int] | None = None,
    held_out: frozenset[str] = frozenset(),
    seed: int = 0,
    pipeline: int = PIPELINE_VERSION,
    split_rule: int = SPLIT_RULE,
) -> Task:
    """Choose classes and split images into train, search and test, class by class.

    Args:
        splits: What ``nuwa_search.core.dataset.load_dataset`` gave. With ``train`` and ``test`` (or ``val`` in its
            place), a fifth of ``train`` becomes the search split, or ``val`` if there is ``test`` too, or
            the images in ``held_out``; with one split only, a fifth each becomes search and test.
        data: What to call the data.
        base_labels: Label names of the base, to find its outputs for these classes.
        classes: Names or indices in the data set's labels; None for all.
        held_out: Hashes of images the base has not seen in training.
        seed: Of the split.
        pipeline: Version of the preprocessing (``Preprocess.pipeline``).
        split_rule: An earlier version divides as it did.

    Raises:
        NuwaError: If a class is unknown or has too few images for its splits, or the rule is from a newer version.
    """
    if split_rule > SPLIT_RULE:
        raise NuwaError(
            f"the images of {data} were split by rule {split_rule}, and this nuwa-search knows up to {SPLIT_RULE}",
            hint="pip install --upgrade nuwa-search",
        )
    source = splits.get("train") or splits.get(WHOLE)
    if source is None:
        raise NuwaError(f"{data} has only the splits {', '.join(splits)}, wanted train", hint="add a train split")
    chosen = resolve_classes(classes, source.label_names)
    pool = source.only(chosen)
    rng = np.random.default_rng(seed)
    final = splits.get("test") or splits.get("val")
    if final is None:
        _require_images(pool, 5, data)
        pool, test = _divide(pool, _pick(pool, TEST_FRACTION, rng))
        fraction = SEARCH_FRACTION / (1 - TEST_FRACTION)
    else:
        _require_images(pool, 3, data)
        test = _matching(final, source, chosen, f"the test split of {data}")
        fraction = SEARCH_FRACTION
    is_held_out = np.asarray([h in held_out for h in pool.hashes]) if held_out else np.zeros(len(pool), dtype=bool)
    unseen = _covers_all(pool, is_held_out)
    if unseen:
        train, search = _divide(pool, is_held_out)
    elif "test" in splits and "val" in splits:
        train, search = pool, _matching(splits["val"], source, chosen, f"the validation split of {data}")
    else:
        train, search = _divide(pool, _pick(pool, fraction, rng))
    names = tuple(source.label_names[c] for c in chosen)
    base_classes = match_outputs(source.label_names, chosen, base_labels)
    return Task(
        data=data,
        class_names=names,
        base_classes=base_classes,
        train=train,
        search=search,
        test=test,
        search_split_seen_by_base=None if base_classes is None else not unseen,
        pipeline=pipeline,
        split_rule=split_rule,
    )


def _require_images(images: ImageSet, least: int, data: str) -> None:
    counts = images.counts()
    for name, count in zip(images.label_names, counts, strict=True):
        if count < least:
            raise NuwaError(
                f"class {name!r} has {count} images in {data}, wanted at least {least}",
                hint="name other classes with --classes, or data with more images",
            )


def _matching(images: ImageSet, source: ImageSet, chosen: Sequence[int], where: str) -> ImageSet:
    if images.label_names != source.label_names:
        raise NuwaError(
            f"{where} has other label names than its train split", hint="give every split the same label names"
        )
    picked = images.only(chosen)
    _require_images(picked, 1, where)
    return picked


def _divide(images: ImageSet, picked: Mask) -> tuple[ImageSet, ImageSet]:
    return images.take(np.flatnonzero(~picked)), images.take(np.flatnonzero(picked))


def _pick(images: ImageSet, fraction: float, rng: np.random.Generator) -> Mask:
    picked = np.zeros(len(images), dtype=bool)
    for label in range(len(images.label_names)):
        members = np.flatnonzero(images.labels == label)
        count = max(1, round(len(members) * fraction))
        picked[rng.permutation(members)[:count]] = True
    return picked


def _covers_all(images: ImageSet, picked: Mask) -> bool:
    total = images.counts()
    chosen = np.bincount(images.labels[picked], minlength=len(total))
    return bool(((chosen > 0) & (chosen < total)).all())
