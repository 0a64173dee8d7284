"""Which image sizes a search chooses among."""

from collections.abc import Sequence

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.derive.defaults import is_small

DEFAULT_SHARES = (3 / 4,)
"""Of the base's own side, rounded to its patch: 168 of 224 pixels, 0.56 of the tokens. On the default base the uncut
net's KL on simulated textiles is 0.38 there with its head as it was, and 0.82 at 140 pixels."""
MAX_PROFILED = 3
"""Sizes that a latency table is filled for, the own among them: others between are interpolated."""


def default_img_sizes(base: Arch) -> tuple[int, ...]:
    """List the sizes below the base's own that are searched where nobody names any, ascending; none of a small base.

    A small base has few tokens to save, and its latency is launches more than work.
    """
    if is_small(base):
        return ()
    sizes = {round(base.img_size * share / base.patch_size) * base.patch_size for share in DEFAULT_SHARES}
    return tuple(sorted(size for size in sizes if 0 < size < base.img_size))


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


def sizes_to_profile(spec: DeviceSpec, base: Arch, *, asked: Sequence[int] | None) -> tuple[int, ...]:
    """List the sizes below the base's own that a profile measures too.

    Args:
        spec: Where nobody asks, emulated devices, which cost nothing, are profiled for what a search chooses among.
        base: As loaded.
        asked: Sides in pixels.

    Raises:
        NuwaError: If one cannot be.
    """
    if asked is not None:
        return profiled_sizes(smaller_sizes(asked, base))
    return profiled_sizes(default_img_sizes(base)) if spec.kind == "emulated" else ()
