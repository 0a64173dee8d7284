"""Labelled images as files: ``split/class/file`` or ``class/file``."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuwa_search.core.class_names import checked_names
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.split_words import rest_of_name, splits_named

IMAGE_SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Endings of the formats that are decoded (``decode_image.FORMATS``)."""
BESIDE_SUFFIXES = frozenset(
    [
        ".csv",
        ".db",
        ".html",
        ".ini",
        ".json",
        ".jsonl",
        ".log",
        ".md",
        ".pdf",
        ".toml",
        ".tsv",
        ".txt",
        ".xml",
        ".yaml",
        ".yml",
    ]
)
"""Endings of what people keep beside pictures; files that end otherwise might be pictures, and are spoken of."""
MAX_NAMED = 8
"""Classes or files that a message lists."""


@dataclass(frozen=True)
class _Child:
    """A folder below the data's: whether images lie in it, and in folders below it."""

    path: Path
    is_flat: bool
    is_nested: bool

    @property
    def split(self) -> str | None:
        named = splits_named(self.path.name)
        return next(iter(named)) if len(named) == 1 else None


def read_image_folder(folder: Path) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    """Read an image folder; returns its splits, and what was left out in sentences.

    A folder called ``train``, ``val`` or ``test`` is a split where every folder beside it is one and they hold class
    folders, and a class where it holds images itself beside other classes.

    Raises:
        NuwaError: If there are no images, the names allow two readings, or splits hold other classes.
    """
    children = [child for path in _folders(folder) if (child := _look_into(path)).is_flat or child.is_nested]
    named = [child for child in children if child.split is not None]
    others = [child for child in children if child.split is None]
    nested = [child for child in named if child.is_nested]
    if not named or (others and not nested):
        splits, notes = _whole(folder)
        return splits, (*notes, *_alike(others if not named else []))
    if others:
        raise _ambiguous(
            folder,
            f"{_list(nested)} hold class folders like splits, and {_list(others)} beside them name no split",
            f"as splits: move {_list(others)} elsewhere. As classes: put the images of {_list(nested)} right into them",
        )
    if nested:
        return _splits(folder, named)
    is_one_split = len(named) > 1 and len({child.split for child in named}) == 1  # test1 beside test2
    if is_one_split or len({rest_of_name(child.path.name) for child in named}) > 1:  # train-station beside test-tube
        return _whole(folder)
    raise _ambiguous(
        folder,
        f"{_list(named)} hold images and no class folders",
        f"as splits: put their images into one folder per class, {named[0].path.name}/CLASS/FILE. As classes: rename "
        "them so that no part of a name is train, val or test",
    )


def _alike(children: list[_Child]) -> tuple[str, ...]:
    """Say that folders with the same folders inside are read as classes: they might be splits by other words."""
    below = {tuple(path.name for path in _folders(child.path) if any(_images_below(path))) for child in children}
    if len(children) < 2 or len(below) > 1 or any(child.is_flat for child in children) or len(next(iter(below))) < 2:
        return ()
    inside = ", ".join(next(iter(below))[:MAX_NAMED])
    return (
        f"{_list(children)} are read as classes, though each holds the folders {inside}; if they are splits, call them "
        "train and test",
    )


def _ambiguous(folder: Path, found: str, hint: str) -> NuwaError:
    return NuwaError(f"{folder} can be read in two ways: {found}", hint=hint)


def _list(children: list[_Child]) -> str:
    names = [child.path.name for child in children]
    return ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _is_image(p))


def _images_below(folder: Path) -> Iterator[Path]:
    return (p for p in _files_below(folder) if _is_image(p))


def _files_below(folder: Path) -> Iterator[Path]:
    """Walk through a folder, without what is hidden: thumbnails that programs keep, halves of files from a Mac."""
    for path in folder.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _is_image(path: Path) -> bool:
    return path.suffix.casefold() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def files_left_out(folders: Iterable[Path], *, where: str = "class folders") -> list[str]:
    """Return how many files below some folders are no pictures by their ending, and might be."""
    endings: dict[str, int] = {}
    for folder in folders:
        for path in _files_below(folder):
            ending = path.suffix.casefold()
            if ending not in IMAGE_SUFFIXES | BESIDE_SUFFIXES and path.is_file():
                endings[ending] = endings.get(ending, 0) + 1
    if not endings:
        return []
    told = ", ".join(f"{endings[ending]} {ending or 'without ending'}" for ending in sorted(endings)[:MAX_NAMED])
    return [f"files in {where} that are no pictures by their ending are left out: {told}"]


def _look_into(path: Path) -> _Child:
    is_flat = any(_is_image(p) for p in path.iterdir())
    return _Child(path, is_flat, any(any(_images_below(below)) for below in _folders(path)))


def _whole(folder: Path) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    found = _read_classes(folder)
    notes = [*_loose(folder), *_empty({WHOLE: found}), *files_left_out(_folders(folder))]
    return {WHOLE: _image_set(folder, found)}, tuple(notes)


def _splits(folder: Path, named: list[_Child]) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    notes: list[str] = []
    paths: dict[str, Path] = {}
    for child in named:
        split = str(child.split)
        if not child.is_nested:
            notes.append(f"{child.path} has no class folders: its images have no labels, and are left out")
            continue
        if split in paths:
            raise NuwaError(
                f"{paths[split]} and {child.path} both name the split {split}",
                hint=f"put one data set into one folder, such as {folder}/NAME/{split}/CLASS/FILE, and name it",
            )
        paths[split] = child.path
        notes += _loose(child.path)
    found = {split: _read_classes(path) for split, path in paths.items()}
    filled = {split: [name for name, files in classes.items() if files] for split, classes in found.items()}
    if len({tuple(names) for names in filled.values()}) > 1:
        parts = " and ".join(f"{split}: {', '.join(names[:MAX_NAMED])}" for split, names in filled.items())
        raise NuwaError(
            f"the splits of {folder} hold different classes ({parts})",
            hint="give every split images of the same classes",
        )
    notes += [*_empty(found), *files_left_out(below for path in paths.values() for below in _folders(path))]
    return {split: _image_set(path, found[split]) for split, path in paths.items()}, tuple(notes)


def _read_classes(folder: Path) -> dict[str, list[Path]]:
    return {path.name: sorted(_images_below(path)) for path in _folders(folder)}


def _loose(folder: Path) -> list[str]:
    count = len(_images_in(folder))
    return [f"images right in {folder} have no class and are left out: {count}"] if count else []


def _empty(found: Mapping[str, Mapping[str, list[Path]]]) -> list[str]:
    names = sorted({name for classes in found.values() for name, files in classes.items() if not files})
    shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    return [f"class folders without images are ignored: {shown}"] if names else []


def _image_set(folder: Path, found: Mapping[str, list[Path]]) -> ImageSet:
    filled = [(name, files) for name, files in found.items() if files]
    if not filled:
        raise NuwaError(
            f"no images under {folder}", hint="an image folder holds one folder per class, with image files in it"
        )
    encoded: list[bytes | Path] = [path for _, files in filled for path in files]
    labels = np.repeat(np.arange(len(filled), dtype=np.int64), [len(files) for _, files in filled])
    names = checked_names([name for name, _ in filled], where=str(folder))
    return ImageSet(encoded, labels, names, str(folder))
