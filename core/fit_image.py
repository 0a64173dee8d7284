"""From RGB of any size to the square that a network takes, as timm's evaluation transform makes it."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
MAX_ASPECT = 16
"""Long by short side beyond which only what is kept of a picture is scaled: a strip of 1 x 10 000 pixels would become
224 x 2 240 000. Up to it the whole is scaled and then cut, bit for bit as timm does; beyond, to rounding."""

MAX_SUPPORT = 4
"""Pixels on either side of a pixel that a filter may see, and one more; Lanczos sees three."""

Pixels = npt.NDArray[np.uint8]


def fit_image(
    rgb: Image.Image, *, size: int, crop_pct: float, crop_mode: str, interpolation: str, fill: tuple[int, ...]
) -> Pixels:
    """Scale a picture and cut or pad it to (size, size, 3) uint8.

    Follows ``transforms_imagenet_eval`` of timm 1.0: with ``scaled = floor(size / crop_pct)``, ``center`` brings the
    short side to ``scaled`` and cuts the centre out, ``squash`` brings both sides there, and ``border`` the long side,
    with the rest filled.

    Args:
        rgb: Upright, in mode RGB.
        size: Of the result.
        crop_pct: Share of the scaled picture's side that is kept; above 1 the picture is padded.
        crop_mode: ``center``, ``squash`` or ``border``.
        interpolation: A name in ``RESAMPLE``.
        fill: RGB around the picture in mode ``border``; elsewhere black.
    """
    scaled = math.floor(size / crop_pct)
    resample = RESAMPLE[interpolation]
    width, height = rgb.size
    if crop_mode == "squash":
        return _cut(_resize(rgb, (scaled, scaled), resample), size, (0, 0, 0))
    if crop_mode == "border":
        ratio = max(width / scaled, height / scaled)
        target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
        return _cut(_resize(rgb, target, resample), size, fill)
    short, long = min(width, height), max(width, height)
    scaled_long = int(scaled * long / short)
    if long <= MAX_ASPECT * short:
        target = (scaled, scaled_long) if width <= height else (scaled_long, scaled)
        return _cut(_resize(rgb, target, resample), size, (0, 0, 0))
    return _cut(_middle(rgb, scaled, scaled_long, size=size, resample=resample), size, (0, 0, 0))


def _resize(rgb: Image.Image, target: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    return rgb if rgb.size == target else rgb.resize(target, resample)


def _middle(rgb: Image.Image, scaled: int, scaled_long: int, *, size: int, resample: Image.Resampling) -> Image.Image:
    """Scale only the middle of a thin picture: as long a part as is kept, at the place where ``_cut`` would cut.

    Width first, then height, which is what ``Image.resize`` does with the whole before Pillow 13; that scales some
    pictures height first, so it is to rounding only (findings/resize_order_differs_in_pillow_13.sh).
    """
    is_upright = rgb.height >= rgb.width
    kept = min(size, scaled_long)
    step = max(rgb.size) / scaled_long
    first = round((scaled_long - kept) / 2.0) * step
    reach = MAX_SUPPORT * max(1.0, step)
    low, high = max(0, math.floor(first - reach)), min(max(rgb.size), math.ceil(first + kept * step + reach))
    begin, end = first - low, min(first - low + kept * step, high - low)
    if is_upright:
        wide = rgb.crop((0, low, rgb.width, high)).resize((scaled, high - low), resample)
        return wide.resize((scaled, kept), resample, box=(0, begin, scaled, end))
    wide = rgb.crop((low, 0, high, rgb.height)).resize((kept, rgb.height), resample, box=(begin, 0, end, rgb.height))
    return wide.resize((kept, scaled), resample)


def _cut(rgb: Image.Image, size: int, fill: tuple[int, ...]) -> Pixels:
    """Pad to ``size`` where a side is shorter, and cut the centre out."""
    wide, high = max(0, size - rgb.width), max(0, size - rgb.height)
    if wide or high:
        padded = Image.new("RGB", (rgb.width + wide, rgb.height + high), fill)
        padded.paste(rgb, (wide // 2, high // 2))
        rgb = padded
    left, top = round((rgb.width - size) / 2.0), round((rgb.height - size) / 2.0)
    return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)


def fit_image_first(rgb: Image.Image, *, size: int, crop_pct: float, interpolation: str) -> Pixels:
    """Scale and cut as preprocessing version 1 did, so that what it scored can be made again.

    The short side is rounded (249 at 224 / 0.9, where timm floors), and so is the corner of the cut.
    """
    short = round(size / crop_pct)
    if min(rgb.size) != short or max(rgb.size) != short:
        scale = short / min(rgb.size)
        target = (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale)))
        rgb = rgb.resize(target, RESAMPLE[interpolation])
    left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
    return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)
