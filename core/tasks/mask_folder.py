"""Images with masks as files: ``SPLIT/images`` beside ``SPLIT/masks``, or the two alone."""

import glob
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.image_folder import IMAGE_SUFFIXES, files_left_out
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.split_words import splits_named
from nuwa_search.core.tasks.class_choice import rarest_classes
from nuwa_search.core.tasks.class_file import read_class_file
from nuwa_search.core.tasks.masks import checked_masks

IMAGES, MASKS = "images", "masks"
MASK_SUFFIXES = frozenset({".png", ".bmp", ".gif", ".tif", ".tiff"})
"""Endings of formats that keep every value; a JPEG would blur ids."""


def is_mask_folder(folder: Path) -> bool:
    """Whether a folder, or one below it, holds images beside masks."""
    return _holds_both(folder) or any(_holds_both(path) for path in _folders(folder))


def read_mask_folder(folder: Path) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    """Read images with masks; returns their splits, and what was left out in sentences.

    The mask of ``images/a/1.jpg`` is ``masks/a/1.png``. A folder of the two alone is one split. Capitals do not
    matter: ``Images`` and ``Masks`` are read too.

    Raises:
        NuwaError: If a mask is missing, of another size than its image or holds an id without a name, two folders name
            one split, or no ``classes.txt`` is there; the file is named.
    """
    names = read_class_file(folder)
    if _holds_both(folder):
        images, notes = _read_split(folder, names)
        return {WHOLE: images}, notes
    found: dict[str, Path] = {}
    said: list[str] = []
    for path in _folders(folder):
        words = splits_named(path.name)
        if not _holds_both(path):
            said.append(f"{path} holds no images beside masks, and is left out")
            continue
        if len(words) != 1:
            raise NuwaError(
                f"{path} holds images and masks, and its name says no split",
                hint="call it train, val or test, or name it alone with --data",
            )
        split = next(iter(words))
        if split in found:
            raise NuwaError(
                f"{found[split]} and {path} both name the split {split}", hint="put one data set into one folder"
            )
        found[split] = path
    read = {split: _read_split(path, names) for split, path in found.items()}
    return {split: images for split, (images, _) in read.items()}, (*said, *_joined(read))


def _joined(read: Mapping[str, tuple[ImageSet, tuple[str, ...]]]) -> tuple[str, ...]:
    return tuple(note for _, notes in read.values() for note in notes)


def _read_split(folder: Path, names: tuple[str, ...]) -> tuple[ImageSet, tuple[str, ...]]:
    image_dir, mask_dir = _child(folder, IMAGES) or folder / IMAGES, _child(folder, MASKS) or folder / MASKS
    images = _files(image_dir, IMAGE_SUFFIXES)
    if not images:
        raise NuwaError(f"no images in {image_dir}", hint="put pictures there, and a mask of each beside them")
    masks = {_stem(path, mask_dir): path for path in _files(mask_dir, MASK_SUFFIXES)}
    missing = [path for path in images if _stem(path, image_dir) not in masks]
    if missing:
        more = f" and of {len(missing) - 1} more" if len(missing) > 1 else ""
        wanted = mask_dir / missing[0].relative_to(image_dir).with_suffix(".png")
        blurred = next((p for p in wanted.parent.glob(f"{glob.escape(wanted.stem)}.*") if p.is_file()), None)
        hint = "add it, or leave the image out"
        if blurred is not None:
            hint = f"save {blurred} as PNG, from where its ids are whole: masks are read from formats that keep them"
        raise NuwaError(f"the mask of {missing[0]}{more} is missing: wanted {wanted}", hint=hint)
    used = [masks[_stem(path, image_dir)] for path in images]
    num_loose = len(masks) - len(set(used))
    said = [f"masks in {mask_dir} without an image are left out: {num_loose}"] if num_loose else []
    notes = (*said, *files_left_out([image_dir], where=str(image_dir)))
    read = checked_masks(used, images, class_names=names, names=[str(path) for path in used])
    labels = rarest_classes(read, len(names))
    return ImageSet(list(images), np.asarray(labels), names, str(folder), read), notes


def _stem(path: Path, folder: Path) -> str:
    """Name a file below a folder without its ending."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _holds_both(folder: Path) -> bool:
    return _child(folder, IMAGES) is not None and _child(folder, MASKS) is not None


def _child(folder: Path, word: str) -> Path | None:
    """Find the folder of that name below another, whatever its capitals; the plain name before others."""
    found = [path for path in _folders(folder) if path.name.casefold() == word]
    return next((path for path in found if path.name == word), found[0] if found else None)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.casefold() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
