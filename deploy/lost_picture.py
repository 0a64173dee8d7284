"""Small pictures of lost images, read from the data that the search was made on, and from nowhere else."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from nuwa_search.core.dataset import load_dataset, local_root
from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.errors import NuwaError

SIDE = 96
"""Pixels of the longer side; a picture that is smaller is shown as it is."""
MAX_BYTES = 64 << 20
"""Of one image file: beyond what cameras write."""


def lost_picture(data: str, *, file: str | None, image_hash: str, known: Sequence[str], column: str | None) -> bytes:
    """Make the PNG of one image of a data set.

    Args:
        data: The data set, as the search named it.
        file: Below its folder; None to look through Parquet files.
        image_hash: Of the image's file: nothing else is ever shown.
        known: Hashes of all images that may be asked for, so that Parquet files are read once for them.
        column: Label column of Parquet files.

    Raises:
        NuwaError: If the image is not there any more, has changed, or is no picture.
    """
    root = local_root(data)
    if root is None:
        raise NuwaError(f"the images of {data} are not on this machine")
    if file is not None:
        content = _from_folder(root, file, image_hash)
    else:
        content = _from_parquet(str(root), tuple(known), column).get(image_hash, b"")
    if not content:
        raise NuwaError(f"the image is not in {data} as it was", hint="put the images back as they were")
    return small_picture(content)


def small_picture(content: bytes) -> bytes:
    """Make a small PNG of an image file.

    Raises:
        NuwaError: If it is no picture.
    """
    try:
        picture = decode_image(content).rgb
    except ValueError as error:
        raise NuwaError(f"the image is no readable picture: {error}") from error
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _from_folder(root: Path, file: str, image_hash: str) -> bytes:
    """Read a file below a folder, links followed; empty for one that leads out, is too large or has changed."""
    try:
        path = (root / file).resolve(strict=True)
        is_below = path.is_relative_to(root.resolve(strict=True)) and path.is_file()
        content = path.read_bytes() if is_below and path.stat().st_size <= MAX_BYTES else b""
    except (OSError, ValueError):
        return b""
    return content if _hash_of(content) == image_hash else b""


@lru_cache(maxsize=4)
def _from_parquet(data: str, known: tuple[str, ...], column: str | None) -> Mapping[str, bytes]:
    """Look the images up by their hash."""
    wanted = set(known)
    found = {}
    for images in load_dataset(data, label_column=column).splits.values():
        for content in images.encoded:
            if isinstance(content, bytes) and (name := _hash_of(content)) in wanted:
                found[name] = content
    return found


def _hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
