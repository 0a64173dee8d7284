"""The size of a net's images: of a square one whole number, of any other its height and width, in pixels.

A square is never a pair, so that archs, ids, rows and bundles of squares stay what they were before there were others.
"""

import re
from typing import TypeGuard

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

ImgSize = int | tuple[int, int]
"""Side of a square, or (height, width)."""

MAX_SIDE = 2**14
"""Of an image in pixels: patches of it are what the sizes of a net grow with, squared."""

_WRITTEN = re.compile(r"\s*(\d{1,9})\s*(?:[xX×]\s*(\d{1,9})\s*)?")


def img_size_of(height: int, width: int) -> ImgSize:
    """Return the size of images of ``height`` by ``width`` pixels."""
    return height if height == width else (height, width)


def sides_of(size: ImgSize) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def grid_of(size: ImgSize, patch_size: int) -> tuple[int, int]:
    """Return how many patches there are one below the other, and side by side."""
    height, width = sides_of(size)
    return height // patch_size, width // patch_size


def num_pixels_of(size: ImgSize) -> int:
    """Count the pixels, by which sizes are ordered."""
    height, width = sides_of(size)
    return height * width


def width_of(size: ImgSize) -> int:
    """Return the width, the side of a square: what tells the sizes of one search apart."""
    return sides_of(size)[1]


def is_within(less: ImgSize, more: ImgSize) -> bool:
    """Whether an image is narrower than another, and no higher."""
    return width_of(less) < width_of(more) and sides_of(less)[0] <= sides_of(more)[0]


def is_cut_by(size: ImgSize, patch_size: int) -> bool:
    """Whether patches of that side fill the image without a rest."""
    return all(side >= patch_size and side % patch_size == 0 for side in sides_of(size))


def nearest_cut(size: ImgSize, patch_size: int) -> ImgSize:
    """Return the nearest size that patches of that side fill."""
    height, width = (max(1, round(side / patch_size)) * patch_size for side in sides_of(size))
    return img_size_of(height, width)


def size_words(size: ImgSize, sign: str = "x") -> str:
    """Write a size as it is given: ``224``, or ``224x168``, height first."""
    return str(size) if isinstance(size, int) else f"{size[0]}{sign}{size[1]}"


def both_sides(size: ImgSize, sign: str = "×") -> str:
    """Write height and width, of a square too: ``224×224``."""
    height, width = sides_of(size)
    return f"{height}{sign}{width}"


def json_from_img_size(size: ImgSize) -> int | list[int]:
    """Turn a size into what JSON holds: a number, or a list of height and width."""
    return size if isinstance(size, int) else [*size]


def is_pair(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    """Whether a value is written as height and width."""
    return isinstance(value, list | tuple)


def checked_img_size(value: object, name: str = "img_size", *, high: int = MAX_SIDE) -> ImgSize:
    """Return a size from outside: a whole number, or a list of two.

    Raises:
        NuwaError: If it is anything else, or a side is out of 1..``high``.
    """
    if not is_pair(value):
        return checked.integer(value, name, low=1, high=high)
    sides = checked.items(value, name, min_items=2, max_items=2)
    height, width = (checked.integer(side, f"{name}[{k}]", low=1, high=high) for k, side in enumerate(sides))
    return img_size_of(height, width)


def img_size_from_value(value: object, name: str = "--img-size") -> ImgSize:
    """Read a size as people and clients give it: a number, a list of two, or what is written as ``HxW``.

    Raises:
        NuwaError: If it is none of these, or a side is out of range.
    """
    return img_size_from_text(value, name) if isinstance(value, str) else checked_img_size(value, name)


def img_size_from_text(text: str, name: str = "--img-size") -> ImgSize:
    """Read ``224``, or ``224x168``: height, then width.

    Raises:
        NuwaError: If it is neither, or a side is out of range.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise NuwaError(
            f"{name}: wanted pixels as N, or as HxW (height, width), found {checked.shown(text)}",
            hint="such as 224, or 224x168",
        )
    height = int(found[1])
    return checked_img_size([height, height if found[2] is None else int(found[2])], name)
