"""Which image sizes a search chooses among."""

import itertools
from collections.abc import Sequence

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import (
    ImgSize,
    both_sides,
    is_cut_by,
    is_within,
    nearest_cut,
    num_pixels_of,
    sides_of,
    size_words,
)

MAX_PROFILED = 3
"""Sizes that a latency table is filled for, the own among them: others between are interpolated."""


def smaller_sizes(wanted: Sequence[ImgSize], base: Arch) -> tuple[ImgSize, ...]:
    """List the sizes that were asked for below the base's own, ascending.

    Args:
        wanted: In pixels; the base's own may be among them, and is searched in any case.
        base: Base as loaded.

    Raises:
        NuwaError: If one is no multiple of the patch, or larger than the base's own, or two do not lie in each other.
    """
    for size in wanted:
        if not is_cut_by(size, base.patch_size):
            nearest = size_words(nearest_cut(size, base.patch_size))
            raise NuwaError(
                f"--img-sizes: images of {size_words(size)} pixels cannot be cut into patches of {base.patch_size}",
                hint=f"give multiples of {base.patch_size}, such as {nearest}",
            )
        if any(mine > own for mine, own in zip(sides_of(size), sides_of(base.img_size), strict=True)):
            raise NuwaError(
                f"--img-sizes: {size_words(size)} pixels is larger than the base's {size_words(base.img_size)}, "
                "at which it teaches",
                hint=f"load it larger: --img-size {size_words(size)}",
            )
    found = sorted({*wanted} - {base.img_size}, key=num_pixels_of)
    for less, more in itertools.pairwise([*found, base.img_size]):
        if not is_within(less, more):  # between the sizes that were tried, others are interpolated along the width
            raise NuwaError(
                f"--img-sizes: each size must be narrower than the next, and no higher: {both_sides(less, 'x')} "
                f"beside {both_sides(more, 'x')} is not",
                hint=f"give sizes whose sides shrink together, below {size_words(base.img_size)}",
            )
    return tuple(found)


def profiled_sizes(sizes: Sequence[ImgSize]) -> tuple[ImgSize, ...]:
    """Choose the sizes below the base's own that a latency table is filled for: at most two, the least among them."""
    ordered = sorted(sizes, key=num_pixels_of)
    if len(ordered) < MAX_PROFILED:
        return tuple(ordered)
    return (ordered[0], ordered[len(ordered) // 2])


def sizes_to_profile(base: Arch, *, asked: Sequence[ImgSize] | None) -> tuple[ImgSize, ...]:
    """List the sizes below the base's own that a profile measures too.

    Args:
        base: Base as loaded.
        asked: In pixels; None for none.

    Raises:
        NuwaError: If the base cannot take one of them.
    """
    return profiled_sizes(smaller_sizes(asked or (), base))
