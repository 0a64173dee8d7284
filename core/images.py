"""Labelled images as a value, and the way from encoded bytes to network input."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from nuwa_search.core.counting import counted
from nuwa_search.core.decode_image import check_header, decode_image
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fit_image import fit_image, fit_image_first
from nuwa_search.core.img_size import ImgSize, checked_img_size, sides_of, size_words
from nuwa_search.core.pipeline import FIRST_PIPELINE, PIPELINE_VERSION
from nuwa_search.core.suggest import unknown_name
from nuwa_search.core.tasks.masks import Masks

WHOLE = "all"
"""Name of the one split of a source without splits."""

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
CropMode = Literal["center", "squash", "border"]

MIN_CROP_PCT, MAX_CROP_PCT = 0.1, 10.0
"""Bounds of ``crop_pct``; timm's models have 0.875 to 1. At 0.1 the scaled picture has 100 times the pixels kept."""


@dataclass(frozen=True)
class Preprocess:
    """From a decoded image to network input, as timm's evaluation transform does it.

    Args:
        img_size: Side of the square that the network takes; (height, width) where it takes none.
        mean: Per channel, of values scaled to 0..1.
        std: As ``mean``.
        interpolation: How the picture is scaled.
        crop_pct: Share of the scaled picture's side that is kept.
        crop_mode: What is scaled to ``floor(img_size / crop_pct)``: the side that is short beside it with the centre
            cut out (``center``), both sides (``squash``), or the long one with the rest filled by ``mean``
            (``border``).
        pipeline: Version of these steps: what an earlier one scored can be made again only as long as ``crop``
            still does what that version did.
    """

    img_size: ImgSize
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_pct: float = 1.0
    pipeline: int = PIPELINE_VERSION
    crop_mode: CropMode = "center"

    def __post_init__(self) -> None:
        if not FIRST_PIPELINE <= self.pipeline <= PIPELINE_VERSION:
            raise NuwaError(
                f"images were made by preprocessing version {self.pipeline}, and this nuwa-search knows "
                f"{FIRST_PIPELINE} to {PIPELINE_VERSION}",
                hint="pip install --upgrade nuwa-search",
            )
        object.__setattr__(self, "img_size", checked_img_size(self.img_size))  # a square is no pair
        if self.pipeline == FIRST_PIPELINE and not isinstance(self.img_size, int):
            raise NuwaError(
                f"preprocessing version {FIRST_PIPELINE} made squares only, found {size_words(self.img_size)}",
                hint="leave the version out: new nets are scored by the newest",
            )
        if self.interpolation not in get_args(Interpolation):
            raise unknown_name("interpolation", str(self.interpolation), get_args(Interpolation))
        if self.crop_mode not in get_args(CropMode):
            raise unknown_name("crop_mode", str(self.crop_mode), get_args(CropMode))
        if not MIN_CROP_PCT <= self.crop_pct <= MAX_CROP_PCT:  # NaN is outside as well
            raise NuwaError(
                f"crop_pct {self.crop_pct} is outside {MIN_CROP_PCT}..{MAX_CROP_PCT}",
                hint="it is the share of the scaled picture that is kept, such as 0.9",
            )
        hint = "give them for values scaled to 0..1, such as mean 0.485 and std 0.229, not 123.7 and 58.4"
        if len(self.mean) != len(self.std) or not all(0 <= value <= 1 for value in self.mean):
            raise NuwaError(f"mean {self.mean} is outside 0..1", hint=hint)
        if not all(0 < value <= 1 for value in self.std):
            raise NuwaError(f"std {self.std} is outside 0..1, or zero", hint=hint)


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, still encoded; decoding happens in ``pixels``.

    Args:
        encoded: Image files: bytes, or paths read when needed.
        labels: (N,) int64 indices into ``label_names``; of images with masks the rarest class in each, by which
            splits and samples are kept even.
        label_names: All classes of the data set, used here or not.
        origin: Where they came from, for messages.
        masks: One per image where pixels have classes; None where whole images have.
        strata: (N,) what splits are kept even by instead of ``labels``: of images with masks the rarest in each of all
            classes of the data set, chosen or not. No part of what identifies the images.
    """

    encoded: Sequence[bytes | Path]
    labels: npt.NDArray[np.int64]
    label_names: tuple[str, ...]
    origin: str
    masks: Masks | None = None
    strata: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def name_of(self, place: int) -> str:
        """Name an image for messages: its path, or its place in its file."""
        item = self.encoded[place]
        return str(item) if isinstance(item, Path) else f"image {place} of {self.origin}"

    def read(self, place: int) -> bytes:
        """Return the file of an image.

        Raises:
            NuwaError: If it cannot be read.
        """
        return _bytes_of(self.encoded[place])

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "ImageSet":
        """Return the images at ``indices``, in that order."""
        chosen = [int(i) for i in indices]
        encoded, places = [self.encoded[i] for i in chosen], np.asarray(chosen, dtype=np.int64)
        masks = None if self.masks is None else self.masks.take(chosen)
        strata = None if self.strata is None else self.strata[places]
        part = ImageSet(encoded, self.labels[places], self.label_names, self.origin, masks, strata)
        return self._with_hashes(part, chosen)

    def only(self, classes: Sequence[int]) -> "ImageSet":
        """Return the images of ``classes``, relabelled 0..len(classes)-1 in the order given."""
        place = {label: k for k, label in enumerate(classes)}
        part = self.take([i for i, label in enumerate(self.labels) if int(label) in place])
        labels = np.asarray([place[int(label)] for label in part.labels], dtype=np.int64)
        changed = dataclasses.replace(part, labels=labels, label_names=tuple(self.label_names[c] for c in classes))
        if "hashes" in part.__dict__:
            changed.__dict__["hashes"] = part.hashes
        return changed

    def _with_hashes(self, part: "ImageSet", chosen: Sequence[int]) -> "ImageSet":
        """Hand on hashes that are known: each costs reading a file."""
        known = self.__dict__.get("hashes")
        if known is not None:
            part.__dict__["hashes"] = tuple(known[i] for i in chosen)
        return part

    def counts(self) -> npt.NDArray[np.int64]:
        """Count images per class: (len(label_names),)."""
        return np.bincount(self.labels, minlength=len(self.label_names)).astype(np.int64)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Identify each image by the SHA-256 of its file (16 hex digits)."""
        files = counted("reading files", self.encoded)
        return tuple(hashlib.sha256(_bytes_of(item)).hexdigest()[:16] for item in files)

    @cached_property
    def content_hash(self) -> str:
        """Identify images, labels or masks, and order together (16 hex digits)."""
        digest = hashlib.sha256("".join(self.hashes).encode())
        digest.update(self.labels.tobytes())
        digest.update("\n".join(self.label_names).encode())
        if self.masks is not None:
            digest.update(self.masks.content_hash.encode())
        return digest.hexdigest()[:16]


def pixels(images: ImageSet, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Decode, scale and cut all images to (N, 3, H, W) uint8; normalisation comes later.

    Raises:
        NuwaError: If a file is not a readable image, or of a kind whose range is unknown; it is named.
    """
    return pixels_and_turns(images, preprocess)[0]


def pixels_and_turns(images: ImageSet, preprocess: Preprocess) -> tuple[npt.NDArray[np.uint8], int]:
    """Decode as ``pixels``, and count the images that their EXIF orientation had turned upright."""
    out = np.empty((len(images), 3, *sides_of(preprocess.img_size)), dtype=np.uint8)
    num_turned = 0
    for i, (picture, is_turned) in enumerate(each_picture(images, preprocess)):
        out[i] = picture
        num_turned += is_turned
    return out, num_turned


def each_picture(images: ImageSet, preprocess: Preprocess) -> Iterator[tuple[npt.NDArray[np.uint8], bool]]:
    """Decode, scale and cut one image after the other: (3, H, W), and whether EXIF had it turned.

    Raises:
        NuwaError: As ``pixels``.
    """
    is_first = preprocess.pipeline == FIRST_PIPELINE
    for i, item in enumerate(counted("reading images", images.encoded)):
        try:
            decoded = decode_image(_bytes_of(item), is_first_pipeline=is_first)
        except ValueError as error:
            where = images.name_of(i)
            raise NuwaError(f"{where} is not a readable image: {error}", hint="remove or replace that file") from error
        yield crop(decoded.rgb, preprocess).transpose(2, 0, 1), decoded.is_turned


def unreadable_images(images: ImageSet) -> list[str]:
    """Name the images whose header no reader of pictures knows, or tells of too many pixels; none is decoded.

    A file that breaks off behind its header is found when it is decoded.
    """
    found = []
    for place, item in enumerate(counted("reading headers", images.encoded)):
        try:
            check_header(_bytes_of(item))
        except (ValueError, NuwaError):
            found.append(images.name_of(place))
    return found


def crop(rgb: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Scale one upright RGB image and cut or pad it: (H, W, 3) uint8."""
    size, pct, interpolation = preprocess.img_size, preprocess.crop_pct, preprocess.interpolation
    if preprocess.pipeline == FIRST_PIPELINE and isinstance(size, int):
        return fit_image_first(rgb, size=size, crop_pct=pct, interpolation=interpolation)
    fill = tuple(round(255 * value) for value in preprocess.mean)
    return fit_image(
        rgb, size=size, crop_pct=pct, crop_mode=preprocess.crop_mode, interpolation=interpolation, fill=fill
    )


def _bytes_of(item: bytes | Path) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        return item.read_bytes()
    except OSError as error:
        raise NuwaError(
            f"image {item} cannot be read: {error.strerror or error}", hint="copy the file again, or leave it out"
        ) from error
