"""Masks of a split: which class each pixel of an image is, still encoded, and the way to label maps."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from nuwa_search.core.counting import counted
from nuwa_search.core.decode_image import MAX_PIXELS, PICTURE_BYTES
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, sides_of
from nuwa_search.core.out_of_memory import is_memory_short, is_out_of_memory

IGNORED = 255
"""Id of pixels that belong to no class and are not looked at: the convention of PASCAL VOC and Cityscapes."""
NUM_IDS = 256
"""Of an 8-bit mask."""
MASK_MODES = frozenset({"L", "P", "1"})
"""Pillow's modes whose 8-bit values are ids: grey, the indices of a palette, and black-and-white (0 and 1)."""
BACKGROUND = "background"
GREY_STEPS = {"L;2": 85, "L;4": 17}
"""By how much Pillow multiplies greys of 2 and 4 bits to fill 0..255 (its raw modes): such a mask's ids are divided by
it. Programs that make PNG files smaller write masks of few classes so."""

LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Masks:
    """One mask per image, and which class each id means.

    Args:
        encoded: Mask files: bytes, or paths read when needed.
        classes: (256,) class of each id; ``IGNORED`` for pixels that are not looked at.
        num_pixels: (N, 256) pixels of each id in each mask.
    """

    encoded: Sequence[bytes | Path]
    classes: npt.NDArray[np.uint8]
    num_pixels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, indices: Sequence[int]) -> "Masks":
        """Return the masks at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Masks([self.encoded[i] for i in chosen], self.classes, self.num_pixels[chosen])

    def label_map(self, place: int) -> LabelMap:
        """Decode one mask: (H, W) uint8 classes at its own size, ``IGNORED`` where none is meant.

        Raises:
            NuwaError: If it is no readable mask.
        """
        return self.classes[decode_mask(self.encoded[place], name=self.name_of(place))]

    def name_of(self, place: int) -> str:
        """Name a mask for messages: its path, or its place."""
        item = self.encoded[place]
        return str(item) if isinstance(item, Path) else f"mask {place}"

    def class_pixels(self, num_classes: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each class in each mask: (N, num_classes)."""
        counts = np.zeros((len(self), NUM_IDS), dtype=np.int64)
        for number in range(NUM_IDS):
            counts[:, self.classes[number]] += self.num_pixels[:, number]
        return counts[:, :num_classes]

    def recoded(self, chosen: Sequence[int], *, first: int) -> "Masks":
        """Renumber classes: ``chosen[k]`` becomes class ``first + k``, and every other class 0."""
        table = np.zeros(NUM_IDS, dtype=np.uint8)
        table[IGNORED] = IGNORED
        for place, label in enumerate(chosen):
            table[label] = first + place
        return dataclasses.replace(self, classes=table[self.classes])

    @property
    def content_hash(self) -> str:
        """Identify files, order and the meaning of ids (16 hex digits)."""
        digest = hashlib.sha256(self.classes.tobytes())
        for item in self.encoded:
            digest.update(hashlib.sha256(mask_bytes(item)).digest())
        return digest.hexdigest()[:16]


def mask_bytes(item: bytes | Path) -> bytes:
    """Return the file of a mask.

    Raises:
        NuwaError: If it cannot be read.
    """
    if isinstance(item, bytes):
        return item
    try:
        return item.read_bytes()
    except OSError as error:
        raise NuwaError(f"mask {item} cannot be read: {error.strerror or error}", hint="copy the file again") from error


def decode_mask(item: bytes | Path, *, name: str, num_classes: int | None = None) -> LabelMap:
    """Decode one mask to its ids: (H, W) uint8, of a palette the indices.

    Args:
        item: The file.
        name: What to call it in messages.
        num_classes: Ids that have a name, to tell whether a palette is plain; None does not ask.

    Raises:
        NuwaError: If it is no readable picture, or one of colours and not of ids, or a palette whose greys are other
            ids than its indices; it is named.
    """
    hint = "a mask is a PNG of 8 bits whose values, or whose palette's indices, are class ids"
    try:
        with Image.open(io.BytesIO(mask_bytes(item)), formats=("PNG", "BMP", "TIFF", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise NuwaError(f"{name} has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
            if image.mode not in MASK_MODES:
                raise NuwaError(f"{name} is no mask of class ids: its mode is {image.mode}", hint=hint)
            step = _grey_step(image)
            ids = np.asarray(image, dtype=np.uint8) // step
            if num_classes is not None and image.mode == "P":
                _require_plain(image, ids, num_classes=num_classes, name=name)
            return ids
    except NuwaError:
        raise
    except Exception as error:  # Pillow's readers let struct.error, SyntaxError and others through
        if is_out_of_memory(error) and is_memory_short(PICTURE_BYTES):
            raise
        said = str(error).partition(" <")[0]  # Pillow names the object that it read from
        raise NuwaError(f"{name} is not a readable mask: {said}", hint=hint) from error


def _grey_step(image: Image.Image) -> int:
    """Return what Pillow will multiply the values of a grey picture by; it is known until the pixels are read."""
    tiles = image.tile if isinstance(image, ImageFile) else []
    modes = {part.args if isinstance(part.args, str) else (part.args or ("",))[0] for part in tiles}
    return max((GREY_STEPS.get(str(mode), 1) for mode in modes), default=1)


def _require_plain(image: Image.Image, ids: LabelMap, *, num_classes: int, name: str) -> None:
    """Refuse a palette of greys some of which are ids themselves, and other ones than their indices.

    A mask of grey values becomes such a palette when a program writes it as GIF, or makes its PNG smaller.

    Raises:
        NuwaError: If index and grey are two ids that may both be meant.
    """
    used = np.unique(ids)
    colours = np.asarray(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    if not len(used) or used[-1] >= len(colours):
        return
    shown = colours[used]
    if not (shown == shown[:, :1]).all():
        return
    for index, grey in zip(used.tolist(), shown[:, 0].tolist(), strict=True):
        if grey != index and 0 < grey < num_classes:
            raise NuwaError(
                f"{name} has a palette of greys, in which index {index} is shown as {grey}, and both are ids",
                hint="save it as an 8-bit grey PNG whose values are the ids, or give its palette colours",
            )


def fitted_mask(classes: LabelMap, size: ImgSize) -> LabelMap:
    """Scale a label map to the size that a network's images are squashed to: (H, W), by the nearest pixel."""
    height, width = sides_of(size)
    return np.asarray(Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST), dtype=np.uint8)


def checked_masks(
    encoded: Sequence[bytes | Path],
    images: Sequence[bytes | Path],
    *,
    class_names: Sequence[str],
    names: Sequence[str],
) -> Masks:
    """Decode all masks once, hold them against images and class names, and count their pixels.

    Args:
        encoded: The masks.
        images: Theirs, in the same order.
        class_names: Name of each id, from 0.
        names: What to call each mask in messages.

    Raises:
        NuwaError: If a mask is of another size than its image, holds an id without a name, or cannot be read; its file
            is named.
    """
    counts = np.zeros((len(encoded), NUM_IDS), dtype=np.int64)
    if len(class_names) > IGNORED:
        raise NuwaError(
            f"{len(class_names)} classes are named, and 8-bit masks tell {IGNORED} apart",
            hint=f"id {IGNORED} stands for pixels that belong to no class",
        )
    pairs = list(zip(encoded, images, strict=True))
    for place, (mask, image) in enumerate(counted("reading masks", pairs)):
        ids = decode_mask(mask, name=names[place], num_classes=len(class_names))
        size = _size_of(image)
        if size is not None and size != ids.shape:
            raise NuwaError(
                f"{names[place]} is a mask of {ids.shape[1]} x {ids.shape[0]} pixels, and its image has "
                f"{size[1]} x {size[0]}",
                hint="a mask has a value for every pixel of its image: make it anew at the image's size",
            )
        counts[place] = np.bincount(ids.ravel(), minlength=NUM_IDS)
        unknown = [int(k) for k in np.flatnonzero(counts[place]) if k >= len(class_names) and k != IGNORED]
        if unknown:
            raise NuwaError(
                f"{names[place]} holds id {unknown[0]}, and there are names for 0..{len(class_names) - 1}",
                hint=f"name it in classes.txt, one name a line from id 0 on; pixels that mean nothing have {IGNORED}",
            )
    table = np.full(NUM_IDS, IGNORED, dtype=np.uint8)
    table[: len(class_names)] = np.arange(len(class_names), dtype=np.uint8)
    return Masks(list(encoded), table, counts)


def _size_of(item: bytes | Path) -> tuple[int, int] | None:
    """Read height and width from an image's header, as it is shown upright; None where no reader knows it.

    What cannot be read is told where images are decoded, by the image's own name.
    """
    try:
        with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations that swap the sides
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:
        return None
