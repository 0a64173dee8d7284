"""Pictures that look the same to a network, whatever files they lie in."""

import hashlib
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from nuwa_search.core.images import ImageSet, Preprocess, each_picture

Pictures = Iterable[npt.NDArray[np.uint8]]


def picture_hashes(pictures: Pictures) -> list[bytes]:
    """Identify pictures (3, H, W) by their pixels as a network sees them."""
    return [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in pictures]


def picture_hashes_of(images: ImageSet, preprocess: Preprocess) -> list[bytes]:
    """Decode images one after the other, and keep nothing but what identifies their pixels.

    Raises:
        NuwaError: If a file is not a readable image; it is named.
    """
    return picture_hashes(picture for picture, _ in each_picture(images, preprocess))


def places_of_others(hashes: list[bytes], known: Collection[bytes]) -> npt.NDArray[np.int64]:
    """Return the places of the pictures that are not among the known ones."""
    return np.flatnonzero([name not in known for name in hashes]).astype(np.int64)
