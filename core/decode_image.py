"""From an image file to upright 8-bit RGB, or a refusal; what of a file's modes is read, and how."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, UnidentifiedImageError

from nuwa_search.core.out_of_memory import is_memory_short, is_out_of_memory

MAX_PIXELS = 89_478_485
"""Of one file, before it is decoded: where Pillow begins to warn of decompression bombs (a quarter of a GB as RGB)."""
PICTURE_BYTES = 2 * 4 * MAX_PIXELS
"""Of the largest picture that is read, as Pillow holds it, and once more while its mode is changed."""

FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"),
)
"""What is decoded: pictures made of pixels, by decoders inside this process. Pillow would start Ghostscript for EPS."""

PLAIN_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Pillow's 8-bit modes, as timm's loaders convert them: transparency is dropped, not blended."""
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})
"""File formats in which Pillow means 16 bits where it says ``I`` (older ones for PNG, all for PGM)."""

ORIENTATION = 0x0112
"""EXIF tag: how a picture must be turned to stand upright (1: as it is)."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Decoded:
    """One picture in 8-bit RGB, and whether EXIF had it turned."""

    rgb: Image.Image
    is_turned: bool


def decode_image(data: bytes, *, is_first_pipeline: bool = False) -> Decoded:
    """Decode an image file to upright RGB.

    Of 16-bit grey the high byte is taken, as Pillow takes it of 16-bit colour. The program in a bundle does the
    same with Pillow of Python 3.6.

    Args:
        data: The file.
        is_first_pipeline: Whether to leave pictures as they lie, as preprocessing version 1 did.

    Raises:
        ValueError: If the file is no image, is damaged, too large, or of a mode whose range is unknown.
        Exception: Where this machine has no memory for a picture, whatever Pillow raised.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_known_formats()) as image:
            _require_size(image)
            turn = None if is_first_pipeline else _turn_of(image)
            image.load()
            if turn is not None and _turn_of(image) is not None:  # Pillow turns TIFF itself, where it is new
                return Decoded(_rgb_of(image).transpose(turn), is_turned=True)
            return Decoded(_rgb_of(image), is_turned=turn is not None)
    except UnidentifiedImageError as error:
        raise ValueError("it is of no format that is decoded here") from error
    except (OSError, ValueError, SyntaxError) as error:
        _let_through(error)
        raise ValueError(str(error) or type(error).__name__) from error
    except Exception as error:  # Pillow's readers of rare formats let struct.error, KeyError and others through
        _let_through(error)
        raise ValueError(f"{type(error).__name__}: {error}") from error


def check_header(data: bytes) -> None:
    """Read what a file says of itself, and none of its pixels.

    Raises:
        ValueError: If no format that Pillow knows begins like this, or the picture is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_known_formats()) as image:
            _require_size(image)
    except UnidentifiedImageError as error:
        raise ValueError("it is of no format that Pillow knows") from error
    except Exception as error:  # as above
        _let_through(error)
        raise ValueError(f"{type(error).__name__}: {error}") from error


@cache
def _known_formats() -> tuple[str, ...]:
    """List those of ``FORMATS`` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _let_through(error: Exception) -> None:
    """Raise what is no fault of the file: memory that ran out, where less is left than the largest picture takes."""
    if is_out_of_memory(error) and is_memory_short(PICTURE_BYTES):
        raise error


def _require_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF says nothing; the picture is shown as it lies, as viewers do
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _rgb_of(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in ("La", "RGBa"):
        return image.convert("LA" if mode == "La" else "RGBA").convert("RGB")
    if mode in PLAIN_MODES:
        return image.convert("RGB")
    if mode in SIXTEEN_BIT_MODES or mode == "I":
        values = np.asarray(image.convert("I"), dtype=np.int64)
        low, high = int(values.min()), int(values.max())
        is_sixteen = mode != "I" or image.format in SIXTEEN_BIT_FORMATS or high > 255
        if low < 0 or high > 65535 or not is_sixteen:
            raise ValueError(
                f"it holds 32-bit numbers from {low} to {high}, whose range is not told; save it in 8 or 16 bits"
            )
        return Image.fromarray((values >> 8).astype(np.uint8), "L").convert("RGB")
    if mode == "F":
        raise ValueError("it holds floating-point numbers, whose range is not told; save it in 8 or 16 bits")
    raise ValueError(f"its colour mode {mode} is not supported; save it as RGB")
