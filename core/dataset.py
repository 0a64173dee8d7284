"""Find and read labelled images: image folders, Parquet files, or a data set on the Hub."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nuwa_search.core.class_names import checked_names
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.suggest import unknown_name

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LABEL_COLUMNS = ("label", "fine_label")
IMAGE_COLUMNS = ("image", "img")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def load_dataset(source: str | Path, *, label_column: str | None = None) -> dict[str, ImageSet]:
    """Read all splits of a data set; images stay encoded.

    Args:
        source: An image folder (``split/class/file`` or ``class/file``), a Parquet file or a folder of
            them in the Hugging Face image layout, or a data-set name on the Hub. A name that starts
            with ``.``, ``/`` or ``~`` is a path and never looked up on the Hub.
        label_column: Label column of Parquet files; None tries ``label``, then ``fine_label``.

    Returns:
        Split name to images: ``train``, ``val`` and ``test`` where the source has them under any of
        their usual names; a source without splits is ``{"all": …}``.

    Raises:
        NuwaError: If the source does not exist, holds no images, or a file is corrupt.
        OutsideError: If the Hub cannot be reached.
    """
    path = Path(source).expanduser()
    if not path.exists():
        if str(source).startswith((".", "/", "~")):
            raise NuwaError(f"no data at {source}", hint="--data takes an image folder, a Parquet file or folder")
        path = _from_hub(str(source))
    if path.is_file():
        return {WHOLE: _read_parquet([path], label_column)}
    files = sorted(path.rglob("*.parquet"))
    if files:
        return _parquet_splits(path, files, label_column)
    return _folder_splits(path)


def _split_of(name: str) -> str | None:
    stem = name.casefold().split("-")[0]
    return next((split for split, names in SPLIT_NAMES.items() if stem in names), None)


def _parquet_splits(folder: Path, files: list[Path], label_column: str | None) -> dict[str, ImageSet]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        split = _split_of(file.stem) or _split_of(file.parent.name if file.parent != folder else "") or WHOLE
        groups.setdefault(split, []).append(file)
    return {split: _read_parquet(members, label_column) for split, members in groups.items()}


def _folder_splits(folder: Path) -> dict[str, ImageSet]:
    children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    splits = {split: p for p in children if (split := _split_of(p.name)) is not None}
    if not splits:
        return {WHOLE: _read_folder(folder)}
    sets = {split: _read_folder(p) for split, p in splits.items()}
    names = {s.label_names for s in sets.values()}
    if len(names) > 1:
        found = " and ".join(f"{split}: {', '.join(s.label_names[:8])}" for split, s in sets.items())
        raise NuwaError(
            f"the splits of {folder} hold different classes ({found})", hint="give every split the same classes"
        )
    return sets


def _read_folder(folder: Path) -> ImageSet:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    encoded: list[bytes | Path] = []
    labels: list[int] = []
    for index, directory in enumerate(classes):
        found = sorted(p for p in directory.rglob("*") if p.suffix.casefold() in IMAGE_SUFFIXES and p.is_file())
        encoded += found
        labels += [index] * len(found)
    if not encoded:
        raise NuwaError(
            f"no images under {folder}", hint="an image folder holds one folder per class, with image files in it"
        )
    names = checked_names([p.name for p in classes], where=str(folder))
    return ImageSet(encoded, np.asarray(labels, dtype=np.int64), names, str(folder))


def _read_parquet(files: list[Path], label_column: str | None) -> ImageSet:
    encoded: list[bytes | Path] = []
    columns: list[pa.Array] = []
    names: tuple[str, ...] = ()
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
            image_column = _column(file, parquet.schema_arrow, IMAGE_COLUMNS, None, "image")
            chosen = _column(file, parquet.schema_arrow, LABEL_COLUMNS, label_column, "label")
            table = parquet.read(columns=[image_column, chosen])
        except (pa.ArrowException, OSError) as error:
            raise NuwaError(
                f"Parquet file {file} cannot be read: {error}", hint="fetch or copy the file again"
            ) from error
        mine = _class_label_names(file, parquet.schema_arrow, chosen)
        if columns and mine != names:
            raise NuwaError(f"{file} names other classes than {files[0]}", hint="files of one split must agree")
        names = mine
        columns.append(_checked_labels(file, table, chosen))
        encoded += _image_bytes(file, table[image_column])
    if not encoded:
        raise NuwaError(
            f"no images in {files[0].parent}", hint="an image folder has one folder of .png or .jpg files per class"
        )
    origin = str(files[0] if len(files) == 1 else files[0].parent)
    labels, label_names = _labels(columns, names, origin)
    return ImageSet(encoded, labels, label_names, origin)


def _column(file: Path, schema: pa.Schema, usual: tuple[str, ...], wanted: str | None, kind: str) -> str:
    if wanted is not None:
        if wanted not in schema.names:
            raise unknown_name(f"{kind} column", wanted, schema.names)
        return wanted
    for name in usual:
        if name in schema.names:
            return name
    hint = "name it with --label-column" if kind == "label" else "rename it to `image`"
    raise NuwaError(f"{file} has no {kind} column {' or '.join(usual)}, found {', '.join(schema.names)}", hint=hint)


def _checked_labels(file: Path, table: pa.Table, column: str) -> pa.Array:
    values = table[column].combine_chunks()
    if values.null_count:
        raise NuwaError(
            f"{file} has {values.null_count} images without a label in column {column!r}",
            hint="leave these rows out, or name another column with --label-column",
        )
    if not (_is_text(values) or pa.types.is_integer(values.type)):
        raise NuwaError(
            f"{file} column {column!r} holds {values.type}, wanted class indices or names",
            hint="name another column with --label-column",
        )
    return values


def _is_text(values: pa.Array) -> bool:
    return bool(pa.types.is_string(values.type) or pa.types.is_large_string(values.type))


def _labels(
    columns: list[pa.Array], names: tuple[str, ...], origin: str
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], tuple[str, ...]]:
    """Join the label columns of all files of a split: indices, and the classes they point into."""
    if len({_is_text(values) for values in columns}) > 1:
        raise NuwaError(
            f"the files of {origin} hold labels as text and as numbers",
            hint="write the labels of all files the same way",
        )
    values = [value for column in columns for value in column.to_pylist()]
    if values and isinstance(values[0], str):
        found = checked_names(sorted(set(values)), where=f"the label column of {origin}")
        place = {name: k for k, name in enumerate(found)}
        return np.asarray([place[value] for value in values], dtype=np.int64), found
    indices = np.asarray(values, dtype=np.int64)
    known = names or tuple(str(k) for k in range(int(indices.max(initial=-1)) + 1))
    if len(indices) and (indices.min() < 0 or indices.max() >= len(known)):
        raise NuwaError(
            f"labels of {origin} lie outside 0..{len(known) - 1}", hint="count labels from 0, or write class names"
        )
    return indices, known


def _class_label_names(file: Path, schema: pa.Schema, column: str) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return checked_names(names, where=str(file))


def _image_bytes(file: Path, column: pa.ChunkedArray) -> list[bytes | Path]:
    out: list[bytes | Path] = []
    for value in column.to_pylist():
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes):
            out.append(data)
        elif isinstance(value, dict) and value.get("path"):
            out.append(file.parent / value["path"])
        else:
            raise NuwaError(
                f"{file} image {len(out)} holds neither bytes nor a path",
                hint="write images as the Hugging Face image feature does: bytes or path",
            )
    return out


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.parquet", "**/*.parquet"]
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=patterns))
    except (HFValidationError, ValueError) as error:
        raise NuwaError(
            f"no data at {name!r}: neither a path nor a data set's name on the Hub",
            hint="start a path with ./ or /; a data set on the Hub is called OWNER/NAME",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OutsideError(
            f"no path {name!r} here, and the Hub gave no data set of that name ({type(error).__name__})",
            hint="write ./NAME for a path; on the Hub, check the name and the network",
        ) from error
