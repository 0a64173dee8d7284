"""Labelled images in Parquet files, as the Hugging Face image feature lays them out."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nuwa_search.core.class_names import checked_names
from nuwa_search.core.documents import MAX_LIST_BYTES, json_from_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.parquet_values import reopened_for, shared_values, value_type
from nuwa_search.core.split_words import hidden_splits, rest_of_name, splits_named
from nuwa_search.core.suggest import unknown_name

LABEL_COLUMNS = ("label", "fine_label")
IMAGE_COLUMNS = ("image", "img")
UNLABELLED = -1
"""What the Hub's data sets write where a label is kept secret."""
_AGAIN = "fetch or copy the file again"
MAX_ROWS = 20_000_000
"""Of one file; ImageNet-21k has 14 million images in all."""
MAX_CLASSES = 100_000
"""Of labels that are bare numbers, whose largest says how many classes there are; ImageNet's largest has 21 843."""


Reader = Callable[[list[Path], str | None], ImageSet]
"""Reads the files of one split, labels or masks from the named column."""


def read_parquet_folder(
    folder: Path, files: list[Path], label_column: str | None, *, reader: Reader | None = None
) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    """Read a folder of Parquet files; returns its splits, and what was left out in sentences.

    A file's split is the split word in its name or in that of a folder above it. Either every file has one or none.

    Args:
        folder: That was named.
        files: The Parquet files below it.
        label_column: Column of the labels; None for the usual names.
        reader: Reads masks; None reads labels, and leaves out what has none.

    Raises:
        NuwaError: If a name carries two split words or only some carry one, or there are several configurations.
    """
    words = {file: _splits_of(file, folder) for file in files}
    for file, found in words.items():
        if len(found) > 1:
            raise NuwaError(
                f"{file} names {len(found)} splits: {', '.join(sorted(found))}",
                hint=f"name each file for one split (train-0.parquet), or give its folder: --data {file.parent}",
            )
    _require_one_configuration(folder, words)
    _require_no_hidden_splits(words)
    groups: dict[str, list[Path]] = {}
    for file, found in words.items():
        groups.setdefault(next(iter(found), WHOLE), []).append(file)
    notes: list[str] = []
    for split, members in list(groups.items()):
        if reader is None and len(groups) > 1 and _is_unlabelled(members, label_column):
            shown = members[0].name if len(members) == 1 else f"{len(members)} files such as {members[0].name}"
            what = "" if split == WHOLE else f" (split {split})"
            notes.append(f"{shown}{what} holds no labels, and is left out")
            del groups[split]
    if WHOLE in groups and len(groups) > 1:
        stray = groups.pop(WHOLE)[0]
        named = next(iter(groups.values()))[0]
        raise NuwaError(
            f"{named} names a split and {stray} none",
            hint="put the files of one data set into one folder, each named for its split (train-0.parquet)",
        )
    read = reader or read_parquet
    return {split: read(members, label_column) for split, members in groups.items()}, tuple(notes)


def _splits_of(file: Path, folder: Path) -> frozenset[str]:
    return splits_named(" ".join(file.relative_to(folder).with_suffix("").parts))


def _require_one_configuration(folder: Path, words: Mapping[Path, frozenset[str]]) -> None:
    """Ask for one where folders hold data sets of their own, or names such as cifar10-train, cifar100-train, ...-test.

    Parts of names without a split word tell data sets apart: those of folders always, those of files where one of
    them covers two splits or more by itself.
    """
    places = sorted({tuple(p for p in f.relative_to(folder).parent.parts if not splits_named(p)) for f in words})
    if len(places) > 1:
        names = [str(folder.joinpath(*place)) for place in places]
        raise NuwaError(
            f"{folder} holds {len(names)} configurations: {', '.join(names[:8])}", hint=f"name one: --data {names[0]}"
        )
    hint = "put the files of each into a folder of its own, and name one with --data"
    covered: dict[tuple[str, ...], set[str]] = {}
    for file, found in words.items():
        if found:  # files that name no split are spoken of later
            covered.setdefault(rest_of_name(file.stem), set()).update(found)
    sets = list(covered.values())
    if len(sets) > 1 and any(len(one) > 1 for one in sets):
        names = ["-".join(rest) or "files without a name" for rest in covered]
        raise NuwaError(f"{folder} holds {len(names)} configurations: {', '.join(names[:8])}", hint=hint)


def _require_no_hidden_splits(words: Mapping[Path, frozenset[str]]) -> None:
    """Refuse ``mytrain.parquet`` beside ``mytest.parquet``: merged, what is to be tested on would be trained on."""
    hidden = {file: hidden_splits(file.stem) for file, found in words.items() if not found}
    trains = [file for file, found in hidden.items() if found == {"train"}]
    tests = [file for file, found in hidden.items() if found == {"test"}]
    if trains and tests:
        raise NuwaError(
            f"{trains[0]} and {tests[0]} seem to be splits, but name none as a word of its own",
            hint="rename them to train.parquet and test.parquet, or, if they are one data set, to what names no split",
        )


def _is_unlabelled(files: Iterable[Path], label_column: str | None) -> bool:
    """Whether all labels are missing or -1."""
    for file in files:
        with _named_errors(file):
            parquet = _opened(file)
            column = picked_column(file, parquet.schema_arrow, LABEL_COLUMNS, label_column, "label")
            values = parquet.read(columns=[column])[column]
        if values.null_count == len(values):
            continue
        if not pa.types.is_integer(values.type):
            return False
        bounds = pc.min_max(values)
        if bounds["min"].as_py() != UNLABELLED or bounds["max"].as_py() != UNLABELLED:
            return False
    return True


@contextlib.contextmanager
def _named_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names and texts
        raise NuwaError(f"Parquet file {file} cannot be read: {error}", hint=_AGAIN) from error


def _opened(file: Path) -> pq.ParquetFile:
    """Open a file; sizes in its footer are held against limits before memory is taken for them.

    Raises:
        NuwaError: If it says that it holds more rows than any data set.
    """
    parquet = pq.ParquetFile(file, thrift_string_size_limit=MAX_LIST_BYTES, thrift_container_size_limit=MAX_ROWS)
    if not 0 <= parquet.metadata.num_rows <= MAX_ROWS:
        raise NuwaError(f"Parquet file {file} says that it holds {parquet.metadata.num_rows} rows", hint=_AGAIN)
    return parquet


def read_parquet(files: list[Path], label_column: str | None) -> ImageSet:
    """Read files of one split.

    Raises:
        NuwaError: If a file is corrupt or has no such columns, or labels lie outside their classes.
    """
    encoded: list[bytes | Path] = []
    columns: list[pa.Array] = []
    names: tuple[str, ...] = ()
    for file in files:
        with _named_errors(file):
            parquet = _opened(file)
            image_column = picked_column(file, parquet.schema_arrow, IMAGE_COLUMNS, None, "image")
            chosen = picked_column(file, parquet.schema_arrow, LABEL_COLUMNS, label_column, "label")
            mine = _class_label_names(file, parquet.schema_arrow, chosen)
            parquet = reopened_for(parquet, file, (image_column, chosen))
            labels_here = parquet.read(columns=[chosen])[chosen]
            labels_here.validate(full=True)  # texts are UTF-8, lengths are those of their bytes
            pictures = _all_images(file, parquet, image_column)
        if columns and mine != names:
            raise NuwaError(f"{file} names other classes than {files[0]}", hint="files of one split must agree")
        names = mine
        columns.append(_checked_labels(file, labels_here, chosen))
        encoded += pictures
    if not encoded:
        raise NuwaError(
            f"no images in {files[0].parent}", hint="an image folder has one folder of .png or .jpg files per class"
        )
    origin = str(files[0] if len(files) == 1 else files[0].parent)
    labels, label_names = _labels(columns, names, origin)
    return ImageSet(encoded, labels, label_names, origin)


def opened_parquet(file: Path) -> pq.ParquetFile:
    """Open a file within limits.

    Raises:
        NuwaError: If it cannot be read, or says that it holds more rows than any data set.
    """
    with _named_errors(file):
        return _opened(file)


def images_of_column(file: Path, column: str) -> list[bytes | Path]:
    """Read the encoded pictures of a column.

    Raises:
        NuwaError: If the file is corrupt, or a row has no picture.
    """
    with _named_errors(file):
        return _all_images(file, reopened_for(_opened(file), file, (column,)), column)


def picked_column(file: Path, schema: pa.Schema, usual: tuple[str, ...], wanted: str | None, kind: str) -> str:
    """Choose a column: the one that is wanted, or the first of the usual names.

    Args:
        file: For the error.
        schema: Of the file.
        usual: Names that are looked for, the first one that is there wins.
        wanted: The name that was asked for; None for the usual.
        kind: What the column holds, for the error.

    Raises:
        NuwaError: If there is none.
    """
    if wanted is not None:
        if wanted not in schema.names:
            raise unknown_name(f"{kind} column", wanted, schema.names)
        return wanted
    for name in usual:
        if name in schema.names:
            return name
    hint = "rename it to `image`" if kind == "image" else "name it with --label-column"
    raise NuwaError(f"{file} has no {kind} column {' or '.join(usual)}, found {', '.join(schema.names)}", hint=hint)


def _checked_labels(file: Path, found: pa.ChunkedArray, column: str) -> pa.Array:
    values = found.combine_chunks()
    if values.null_count:
        raise NuwaError(
            f"{file} has {values.null_count} images without a label in column {column!r}",
            hint="leave these rows out, or name another column with --label-column",
        )
    if not (_is_text(values) or pa.types.is_integer(value_type(values))):
        raise NuwaError(
            f"{file} column {column!r} holds {value_type(values)}, wanted class indices or names",
            hint="name another column with --label-column",
        )
    return values


def _is_text(values: pa.Array) -> bool:
    kind = value_type(values)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(
    columns: list[pa.Array], names: tuple[str, ...], origin: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Join the label columns of all files of a split: indices, and the classes they point into."""
    if len({_is_text(values) for values in columns}) > 1:
        raise NuwaError(
            f"the files of {origin} hold labels as text and as numbers",
            hint="write the labels of all files the same way",
        )
    values: list[Any] = [value for column in columns for value in shared_values(column)]
    if values and isinstance(values[0], str):
        found = checked_names(sorted(set(values)), where=f"the label column of {origin}")
        place = {name: k for k, name in enumerate(found)}
        return np.asarray([place[value] for value in values], dtype=np.int64), found
    low, high = min(values, default=0), max(values, default=-1)
    most = len(names) or MAX_CLASSES
    if low == UNLABELLED:
        raise NuwaError(
            f"{values.count(UNLABELLED)} of {len(values)} images of {origin} have the label -1, which means none",
            hint="leave these rows out, or put them into a file of their own (test.parquet), which is left out",
        )
    if low < 0 or high >= most:
        raise NuwaError(
            f"labels of {origin} lie outside 0..{most - 1}: {low if low < 0 else high}",
            hint="count labels from 0, or write class names",
        )
    return np.asarray(values, dtype=np.int64), names or tuple(str(k) for k in range(high + 1))


def _class_label_names(file: Path, schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Read the class names that the Hub keeps beside the columns; none where it keeps none.

    Raises:
        NuwaError: If what is kept there cannot be read, or its names are none.
    """
    kept = (schema.metadata or {}).get(b"huggingface")
    if kept is None:
        return ()
    values: Any = json_from_text(
        kept, what=f"the Hub's description inside {file}", hint=_AGAIN, max_bytes=MAX_LIST_BYTES
    )
    for key in ("info", "features", column, "names"):
        values = values.get(key) if isinstance(values, dict) else None
    if values is None:
        return ()
    names = values
    return checked_names(names, where=str(file))


def _all_images(file: Path, parquet: pq.ParquetFile, column: str) -> list[bytes | Path]:
    """Read the images of a file, a row group at a time."""
    out: list[bytes | Path] = []
    for group in range(parquet.num_row_groups):
        found = parquet.read_row_group(group, columns=[column])[column]
        found.validate(full=True)
        for chunk in found.chunks:
            out += _images_of(file, chunk, first=len(out))
    return out


def _images_of(file: Path, chunk: pa.Array, *, first: int) -> list[bytes | Path]:
    """Take bytes, or paths where there are none.

    Raises:
        NuwaError: If an image has neither; its place is named, counted from ``first``.
    """
    parts = {"bytes": chunk}
    if pa.types.is_struct(chunk.type):
        parts = dict(zip([field.name for field in chunk.type], chunk.flatten(), strict=True))
    nothing: list[object] = [None] * len(chunk)
    contents, paths = (shared_values(parts[name]) if name in parts else nothing for name in ("bytes", "path"))
    out: list[bytes | Path] = []
    for content, path in zip(contents, paths, strict=True):
        if isinstance(content, bytes):
            out.append(content)
        elif isinstance(path, str) and path:
            out.append(_path_beside(file, path))
        else:
            raise NuwaError(
                f"{file} image {first + len(out)} holds neither bytes nor a path",
                hint="write images as the Hugging Face image feature does: bytes or path",
            )
    return out


def _path_beside(file: Path, name: str) -> Path:
    path = Path(os.path.normpath(file.parent / name))
    if not path.is_relative_to(os.path.normpath(file.parent)):
        raise NuwaError(
            f"{file} names the image {name}, which lies outside its folder", hint="put images beside or below the file"
        )
    return path
