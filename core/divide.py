"""Divide the images of some classes into train, search and test: by what they are, never by chance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet, Preprocess
from nuwa_search.core.pipeline import SPLIT_RULE
from nuwa_search.core.same_pictures import picture_hashes_of

Mask = npt.NDArray[np.bool_]

SEARCH_FRACTION = 0.2
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Division:
    """How images are divided.

    Args:
        rule: Version of the rule; an earlier one divides as it did.
        seed: Of rule 1, which divided by chance; later ones divide by image hashes.
    """

    rule: int = SPLIT_RULE
    seed: int = 0


@dataclass(frozen=True)
class Divided:
    """Three splits without a common image.

    Args:
        train: For statistics and fine-tuning.
        search: For scoring candidates.
        test: Opened once.
        is_search_unseen: Whether the search split is what the base's training held out.
        notes: What was left out and why, in sentences for people.
    """

    train: ImageSet
    search: ImageSet
    test: ImageSet
    is_search_unseen: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """Images of the task's classes, relabelled, by where they come from.

    Args:
        pool: Of the training split, or of a source without splits.
        test: Of the test split, or of ``val`` in its place; None where there is neither.
        val: Of the validation split where there is a test split too.
        held_out: Hashes of images that the base's training held out.
    """

    pool: ImageSet
    test: ImageSet | None
    val: ImageSet | None
    held_out: frozenset[str]


def divide(chosen: Chosen, *, data: str) -> Divided:
    """Divide by image hashes (from rule 2 on): the same images always fall into the same splits, whatever the seed.

    Of each class the different images are put in the order of their hashes; the first fifth becomes the test split
    where none is given, the next fifth the search split where neither ``val`` nor held-out images are. Copies of one
    file share a hash and stay together. An image of a later split (test, then search) is left out of earlier ones,
    under whatever label, so that nothing is trained on that is scored or tested on.

    Raises:
        NuwaError: If a class has too few different images for its splits.
    """
    notes: list[str] = []
    least = 5 if chosen.test is None else 3
    require_images(chosen.pool, least, data)
    if chosen.test is None:
        pool, test = _take_out(chosen.pool, _first_of(chosen.pool, TEST_FRACTION))
        search_fraction = SEARCH_FRACTION / (1 - TEST_FRACTION)
    else:
        pool, test, search_fraction = chosen.pool, chosen.test, SEARCH_FRACTION
    pool = _without(pool, test, "training data", "test split", notes)
    held_out = np.asarray([h in chosen.held_out for h in pool.hashes], dtype=bool)
    is_unseen = covers_all(pool, held_out)
    if is_unseen:
        train, search = _split(pool, held_out)
    elif chosen.val is not None:
        train, search = pool, _without(chosen.val, test, "validation split", "test split", notes)
    else:
        train, search = _take_out(pool, _first_of(pool, search_fraction))
    train = _without(train, search, "training data", "search split", notes)
    for name, images in (("train", train), ("search", search), ("test", test)):
        require_images(images, 1, f"the {name} split of {data}, without copies of images in later splits")
    return Divided(train, search, test, is_unseen, tuple(notes))


def _first_of(images: ImageSet, fraction: float) -> frozenset[str]:
    """Choose a fraction of the different images of each class, at least one, the lowest hashes first.

    Of images with masks a class may be the rarest in one image only, which then stays where it is learned from.
    """
    out: set[str] = set()
    least = 1 if images.masks is None else 0
    strata = images.labels if images.strata is None else images.strata
    for stratum in np.unique(strata):
        hashes = sorted({images.hashes[i] for i in np.flatnonzero(strata == stratum)})
        out |= set(hashes[: max(least, round(len(hashes) * fraction))])
    return frozenset(out)


def without_test_images(
    splits: Mapping[str, ImageSet], images: ImageSet, preprocess: Preprocess
) -> tuple[ImageSet, tuple[str, ...]]:
    """Take out of a data set's training images what searches on that data test on, and copies of its own.

    Those are the images of the ``test`` and ``val`` splits, by their files and by their pixels, or, in a source without
    splits, the fifth of each class that ``divide`` makes the test split. Of images with the same pixels in several
    files the first is kept, so that none is held out and trained on.

    Args:
        splits: Of the data set.
        images: To train on.
        preprocess: How pictures are made.

    Returns:
        What is left, and what was left out in sentences.
    """
    notes: list[str] = []
    others = [split for name, split in splits.items() if name in ("test", "val")]
    if not others:
        images, test = _take_out(images, _first_of(images, TEST_FRACTION))
        notes.append(f"images that searches on this data test on are left out of training: {len(test)}")
        others = [test]
    known: set[bytes] = set()
    for other in others:
        images = _without(images, other, "training data", "test or validation split", notes)
        known.update(picture_hashes_of(other, preprocess))
    kept = []
    for place, name in enumerate(picture_hashes_of(images, preprocess)):
        if name not in known:
            kept.append(place)
        known.add(name)
    if len(kept) < len(images):
        notes.append(
            "images of the training data whose pixels are those of another image, in another file, are left out of it: "
            f"{len(images) - len(kept)}"
        )
    return images.take(kept), tuple(notes)


def _take_out(images: ImageSet, hashes: Collection[str]) -> tuple[ImageSet, ImageSet]:
    return _split(images, np.asarray([h in hashes for h in images.hashes], dtype=bool))


def _without(images: ImageSet, other: ImageSet, what: str, where: str, notes: list[str]) -> ImageSet:
    """Leave out what is in another split too, and note how many."""
    kept, copies = _take_out(images, frozenset(other.hashes))
    if len(copies):
        notes.append(f"images of the {what} that are in the {where} too are left out of it: {len(copies)}")
    return kept


def divide_by_seed(chosen: Chosen, *, data: str, seed: int) -> Divided:
    """Divide as rule 1 did, by chance: only to open again what it divided."""
    pool = chosen.pool
    rng = np.random.default_rng(seed)
    if chosen.test is None:
        require_images(pool, 5, data)
        pool, test = _split(pool, _pick(pool, TEST_FRACTION, rng))
        fraction = SEARCH_FRACTION / (1 - TEST_FRACTION)
    else:
        require_images(pool, 3, data)
        test, fraction = chosen.test, SEARCH_FRACTION
    held_out = np.asarray([h in chosen.held_out for h in pool.hashes], dtype=bool)
    is_unseen = covers_all(pool, held_out)
    if is_unseen:
        train, search = _split(pool, held_out)
    elif chosen.val is not None:
        train, search = pool, chosen.val
    else:
        train, search = _split(pool, _pick(pool, fraction, rng))
    return Divided(train, search, test, is_unseen)


def _pick(images: ImageSet, fraction: float, rng: np.random.Generator) -> Mask:
    picked = np.zeros(len(images), dtype=bool)
    for label in range(len(images.label_names)):
        members = np.flatnonzero(images.labels == label)
        count = max(1, round(len(members) * fraction))
        picked[rng.permutation(members)[:count]] = True
    return picked


def _split(images: ImageSet, picked: Mask) -> tuple[ImageSet, ImageSet]:
    return images.take(np.flatnonzero(~picked)), images.take(np.flatnonzero(picked))


def require_images(images: ImageSet, least: int, where: str) -> None:
    """Refuse a class with fewer images; where pixels have classes, fewer images altogether.

    Raises:
        NuwaError: With the first such class.
    """
    if images.masks is not None:
        if len(images) < least:
            raise NuwaError(
                f"there are {len(images)} images with masks in {where}, wanted at least {least}",
                hint="give data with more images",
            )
        return
    for name, count in zip(images.label_names, images.counts(), strict=True):
        if count < least:
            raise NuwaError(
                f"class {name!r} has {count} images in {where}, wanted at least {least}",
                hint="name other classes with --classes, or data with more images",
            )


def covers_all(images: ImageSet, picked: Mask) -> bool:
    """Whether of each class some images are picked, and not all."""
    if images.strata is not None:  # a class may be the rarest in no image
        parts = [np.unique(images.strata[which]) for which in (picked, ~picked)]
        return all(len(part) == len(np.unique(images.strata)) for part in parts)
    total = images.counts()
    chosen = np.bincount(images.labels[picked], minlength=len(total))
    return bool(((chosen > 0) & (chosen < total)).all())


def chosen_images(
    splits: Mapping[str, ImageSet], source: ImageSet, classes: Sequence[int], *, held_out: frozenset[str], data: str
) -> Chosen:
    """Take the images of some classes out of a data set's splits.

    Args:
        splits: The data set's, by name.
        source: The training images, whose label names count.
        classes: Indices of the wanted classes.
        held_out: Hashes of images that a base was never trained on, for the search split.
        data: Name of the data, for errors.

    Raises:
        NuwaError: If a split names other labels than the training split, or lacks a class.
    """

    def matching(name: str, where: str) -> ImageSet | None:
        images = splits.get(name)
        if images is None:
            return None
        if images.label_names != source.label_names:
            raise NuwaError(
                f"{where} of {data} has other label names than its train split",
                hint="give every split the same label names",
            )
        picked = images.only(classes)
        require_images(picked, 1, f"{where} of {data}")
        return picked

    val = matching("val", "the validation split")
    test = matching("test", "the test split")
    pool = source.only(classes)
    return Chosen(pool, test or val, val if test is not None else None, held_out)
