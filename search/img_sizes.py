"""Which image sizes a search chooses among."""

from collections.abc import Sequence

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError

MAX_PROFILED = 3
"""Sizes that a latency table is filled for, the own among them: others between are interpolated."""


def smaller_sizes(wanted: Sequence[int], base: Arch) -> tuple[int, ...]:
    """List the sizes that were asked for below the base's own, ascending.

    Args:
        wanted: Sides in pixels; the base's own may be among them, and is searched in any case.
        base: As loaded.

    Raises:
        NuwaError: If one is no multiple of the patch, or larger than the base's own.
    """
    for size in wanted:
        if size % base.patch_size or size < base.patch_size:
            nearest = max(base.patch_size, round(size / base.patch_size) * base.patch_size)
            raise NuwaError(
                f"--img-sizes: images of {size} pixels cannot be cut into patches of {base.patch_size}",
                hint=f"give multiples of {base.patch_size}, such as {nearest}",
            )
        if size > base.img_size:
            raise NuwaError(
                f"--img-sizes: {size} pixels is larger than the base's {base.img_size}, at which it teaches",
                hint=f"load it larger: --img-size {size}",
            )
    return tuple(sorted({*wanted} - {base.img_size}))


def profiled_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Choose the sizes below the base's own that a latency table is filled for: at most two, the least among them."""
    ordered = sorted(sizes)
    if len(ordered) < MAX_PROFILED:
        return tuple(ordered)
    return (ordered[0], ordered[len(ordered) // 2])


def sizes_to_profile(base: Arch, *, asked: Sequence[int] | None) -> tuple[int, ...]:
    """List the sizes below the base's own that a profile measures too.

    Args:
        base: As loaded.
        asked: Sides in pixels; None for none.

    Raises:
        NuwaError: If one cannot be.
    """
    return profiled_sizes(smaller_sizes(asked or (), base))
