"""From RGB of any size to the picture that a network takes, as timm's evaluation transform makes it."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from nuwa_search.core.img_size import ImgSize, sides_of

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
MAX_ASPECT = 16
"""Long by short side, each beside what it is scaled to, beyond which only what is kept of a picture is scaled: a strip
of 1 x 10 000 pixels would become 224 x 2 240 000. Up to it the whole is scaled and then cut, bit for bit as timm does;
beyond, to rounding."""

MAX_SUPPORT = 4
"""Pixels on either side of a pixel that a filter may see, and one more; Lanczos sees three."""

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height, as Pillow has them."""


def fit_image(
    rgb: Image.Image, *, size: ImgSize, crop_pct: float, crop_mode: str, interpolation: str, fill: tuple[int, ...]
) -> Pixels:
    """Scale a picture and cut or pad it to (H, W, 3) uint8.

    Follows ``transforms_imagenet_eval`` of timm 1.0: with ``scaled = floor(size / crop_pct)`` of both sides, ``center``
    scales until one side is there and the other no shorter and cuts the centre out, ``squash`` brings both sides there,
    and ``border`` one, the other no longer, with the rest filled.

    Args:
        rgb: Upright, in mode RGB.
        size: Of the result.
        crop_pct: Share of the scaled picture's side that is kept; above 1 the picture is padded.
        crop_mode: ``center``, ``squash`` or ``border``.
        interpolation: A name in ``RESAMPLE``.
        fill: RGB around the picture in mode ``border``; elsewhere black.
    """
    height, width = sides_of(size)
    wanted = (width, height)
    scaled = (math.floor(width / crop_pct), math.floor(height / crop_pct))
    resample = RESAMPLE[interpolation]
    if crop_mode == "squash":
        return _cut(_resize(rgb, scaled, resample), wanted, (0, 0, 0))
    ratios = [there / here for there, here in zip(rgb.size, scaled, strict=True)]
    if crop_mode == "border":
        return _cut(_resize(rgb, _divided(rgb, max(ratios)), resample), wanted, fill)
    # of a square timm floors the long side, of others it rounds
    target = _short_to(rgb, scaled[0]) if scaled[0] == scaled[1] else _divided(rgb, min(ratios))
    if max(ratios) <= MAX_ASPECT * min(ratios):
        return _cut(_resize(rgb, target, resample), wanted, (0, 0, 0))
    return _cut(_middle(rgb, target, wanted, is_upright=ratios[1] >= ratios[0], resample=resample), wanted, (0, 0, 0))


def _resize(rgb: Image.Image, target: Size, resample: Image.Resampling) -> Image.Image:
    return rgb if rgb.size == target else rgb.resize(target, resample)


def _divided(rgb: Image.Image, ratio: float) -> Size:
    return max(1, round(rgb.width / ratio)), max(1, round(rgb.height / ratio))


def _short_to(rgb: Image.Image, scaled: int) -> Size:
    long = int(scaled * max(rgb.size) / min(rgb.size))
    return (scaled, long) if rgb.width <= rgb.height else (long, scaled)


def _middle(
    rgb: Image.Image, target: Size, wanted: Size, *, is_upright: bool, resample: Image.Resampling
) -> Image.Image:
    """Scale only the middle of a thin picture: as long a part as is kept, at the place where ``_cut`` would cut.

    Width first, then height, which is what ``Image.resize`` does with the whole before Pillow 13; that scales some
    pictures height first, so it is to rounding only (findings/resize_order_differs_in_pillow_13.sh).
    """
    along = int(is_upright)
    there, here = rgb.size[along], target[along]
    kept = min(wanted[along], here)
    step = there / here
    first = round((here - kept) / 2.0) * step
    reach = MAX_SUPPORT * max(1.0, step)
    low, high = max(0, math.floor(first - reach)), min(there, math.ceil(first + kept * step + reach))
    begin, end = first - low, min(first - low + kept * step, high - low)
    if is_upright:
        wide = rgb.crop((0, low, rgb.width, high)).resize((target[0], high - low), resample)
        return wide.resize((target[0], kept), resample, box=(0, begin, target[0], end))
    wide = rgb.crop((low, 0, high, rgb.height)).resize((kept, rgb.height), resample, box=(begin, 0, end, rgb.height))
    return wide.resize((kept, target[1]), resample)


def _cut(rgb: Image.Image, wanted: Size, fill: tuple[int, ...]) -> Pixels:
    """Pad to ``wanted`` where a side is shorter, and cut the centre out."""
    width, height = wanted
    wide, high = max(0, width - rgb.width), max(0, height - rgb.height)
    if wide or high:
        padded = Image.new("RGB", (rgb.width + wide, rgb.height + high), fill)
        padded.paste(rgb, (wide // 2, high // 2))
        rgb = padded
    left, top = round((rgb.width - width) / 2.0), round((rgb.height - height) / 2.0)
    return np.asarray(rgb.crop((left, top, left + width, top + height)), dtype=np.uint8)


def fit_image_first(rgb: Image.Image, *, size: int, crop_pct: float, interpolation: str) -> Pixels:
    """Scale and cut as preprocessing version 1 did, so that what it scored can be made again.

    The short side is rounded (249 at 224 / 0.9, where timm floors), and so is the corner of the cut.

    Args:
        rgb: A picture of any size.
        size: Side of the result in pixels.
        crop_pct: Share of the scaled short side that is kept.
        interpolation: Name of the filter, as in timm.
    """
    short = round(size / crop_pct)
    if min(rgb.size) != short or max(rgb.size) != short:
        scale = short / min(rgb.size)
        target = (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale)))
        rgb = rgb.resize(target, RESAMPLE[interpolation])
    left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
    return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)
