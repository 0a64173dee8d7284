"""Which blocks of the base a shorter arch takes."""

import dataclasses
from collections.abc import Sequence

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError


def place_blocks(arch: Arch, base: Arch, scores: Sequence[float]) -> Arch:
    """Spread the blocks of ``arch`` over those of ``base``, in order, where they are worth most.

    Args:
        arch: With at most as many non-empty blocks as the base has.
        base: Arch of the base.
        scores: Worth of keeping each of the base's blocks, larger is better.

    Returns:
        ``arch`` with one entry per block of the base, the placement of largest total score among those
        where every block fits.

    Raises:
        NuwaError: If no placement fits.
    """
    if len(scores) != len(base.blocks):
        raise NuwaError(f"placing blocks needs {len(base.blocks)} scores, found {len(scores)}")
    wanted = arch.compact().blocks
    taken = _best_places(wanted, base.blocks, scores)
    if taken is None:
        raise NuwaError(
            f"{len(wanted)} blocks of the arch cannot be placed in the {len(base.blocks)} of the base",
            hint="every block must fit in the block it is cut from, in order",
        )
    blocks = [EMPTY_BLOCK] * len(base.blocks)
    for place, block in zip(taken, wanted, strict=True):
        blocks[place] = block
    return dataclasses.replace(arch, blocks=tuple(blocks))


def _best_places(
    wanted: Sequence[BlockSpec], base: Sequence[BlockSpec], scores: Sequence[float]
) -> tuple[int, ...] | None:
    """Dynamic programme over (blocks placed so far, base blocks seen so far)."""
    best: list[tuple[float, tuple[int, ...]] | None] = [(0.0, ())] + [None] * len(wanted)
    for i, theirs in enumerate(base):
        for k in range(len(wanted), 0, -1):
            before = best[k - 1]
            if before is None or not wanted[k - 1].fits_in(theirs):
                continue
            candidate = (before[0] + scores[i], (*before[1], i))
            here = best[k]
            if here is None or candidate[0] > here[0]:
                best[k] = candidate
    last = best[len(wanted)]
    return None if last is None else last[1]
