"""Labelled images as a value, and the way from encoded bytes to network input."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.pipeline import FIRST_PIPELINE, PIPELINE_VERSION

WHOLE = "all"
"""Name of the one split of a source without splits."""

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocess:
    """From a decoded image to network input, as timm's evaluation transform does it.

    The short side is resized to ``img_size / crop_pct``, the centre cropped, values scaled to 0..1
    and normalised with ``mean`` and ``std``. ``pipeline`` is the version of these steps: what an earlier one
    scored can be made again only as long as ``crop`` still does what that version did.
    """

    img_size: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_pct: float = 1.0
    pipeline: int = PIPELINE_VERSION

    def __post_init__(self) -> None:
        if not FIRST_PIPELINE <= self.pipeline <= PIPELINE_VERSION:
            raise NuwaError(
                f"images were made by preprocessing version {self.pipeline}, and this nuwa-search knows "
                f"{FIRST_PIPELINE} to {PIPELINE_VERSION}",
                hint="pip install --upgrade nuwa-search",
            )


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, still encoded; decoding happens in ``pixels``.

    Args:
        encoded: Image files: bytes, or paths read when needed.
        labels: (N,) int64 indices into ``label_names``.
        label_names: All classes of the data set, used here or not.
        origin: Where they came from, for messages.
    """

    encoded: Sequence[bytes | Path]
    labels: npt.NDArray[np.int64]
    label_names: tuple[str, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "ImageSet":
        """Return the images at ``indices``, in that order."""
        chosen = [int(i) for i in indices]
        encoded = [self.encoded[i] for i in chosen]
        return ImageSet(encoded, self.labels[np.asarray(chosen, dtype=np.int64)], self.label_names, self.origin)

    def only(self, classes: Sequence[int]) -> "ImageSet":
        """Return the images of ``classes``, relabelled 0..len(classes)-1 in the order given."""
        place = {label: k for k, label in enumerate(classes)}
        kept = [i for i, label in enumerate(self.labels) if int(label) in place]
        labels = np.asarray([place[int(self.labels[i])] for i in kept], dtype=np.int64)
        names = tuple(self.label_names[c] for c in classes)
        return ImageSet([self.encoded[i] for i in kept], labels, names, self.origin)

    def counts(self) -> npt.NDArray[np.int64]:
        """Count images per class: (len(label_names),)."""
        return np.bincount(self.labels, minlength=len(self.label_names)).astype(np.int64)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Identify each image by the SHA-256 of its file (16 hex digits)."""
        return tuple(hashlib.sha256(_bytes_of(item)).hexdigest()[:16] for item in self.encoded)

    @cached_property
    def content_hash(self) -> str:
        """Identify images, labels and order together (16 hex digits)."""
        digest = hashlib.sha256("".join(self.hashes).encode())
        digest.update(self.labels.tobytes())
        digest.update("\n".join(self.label_names).encode())
        return digest.hexdigest()[:16]


def pixels(images: ImageSet, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop all images to (N, 3, S, S) uint8; normalisation comes later.

    Raises:
        NuwaError: If a file is not a readable image; it is named.
    """
    size = preprocess.img_size
    out = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for i, item in enumerate(images.encoded):
        try:
            with Image.open(io.BytesIO(_bytes_of(item))) as image:
                out[i] = crop(image, preprocess).transpose(2, 0, 1)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            where = str(item) if isinstance(item, Path) else f"image {i} of {images.origin}"
            raise NuwaError(f"{where} is not a readable image: {error}", hint="remove or replace that file") from error
    return out


def crop(image: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Resize the short side and cut the centre out of one image: (S, S, 3) uint8 RGB."""
    size = preprocess.img_size
    rgb = image.convert("RGB")
    short = round(size / preprocess.crop_pct)
    if min(rgb.size) != short or max(rgb.size) != short:
        scale = short / min(rgb.size)
        target = (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale)))
        rgb = rgb.resize(target, _RESAMPLE[preprocess.interpolation])
    left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
    return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)


def _bytes_of(item: bytes | Path) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        return item.read_bytes()
    except OSError as error:
        raise NuwaError(
            f"image {item} cannot be read: {error.strerror or error}", hint="copy the file again, or leave it out"
        ) from error
