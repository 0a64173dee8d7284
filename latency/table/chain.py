"""Nets that are measured to time one unit: the same block several times over.

The slope over chains of different length cancels what every net pays once: copies, patch embedding,
head, the first launch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.latency.table.unit import StemKey, UnitKey

# Two blocks are past the seam to the patch embedding; six make the slope's error a quarter of one
# chain's while the net stays smaller than any usual base.
CHAIN_LENGTHS = (2, 6)


@dataclass(frozen=True)
class Chain:
    """Nets whose latencies give a unit's, with the number of units in each.

    Args:
        archs: Nets to measure, short first; one for a stem.
        lengths: Units in each.
    """

    archs: tuple[Arch, ...]
    lengths: tuple[int, ...]


def frame_of(base: Arch) -> Arch:
    """Take the blocks out of ``base``: patch embedding, norms and head stay."""
    return replace(base, blocks=())


def chain_for(key: UnitKey, *, frame: Arch, background: BlockSpec | None = None) -> Chain:
    """Build the nets that time ``key``.

    Args:
        key: The unit.
        frame: A net without blocks that gives tokens, classes and pooling.
        background: Block that keeps the device busy; needed for rows in busy company.
    """
    if isinstance(key, StemKey):
        arch = replace(
            frame,
            embed_dim=key.embed_dim,
            num_classes=key.num_classes,
            img_size=key.image,
            patch_size=key.patch_size,
            in_chans=key.in_chans,
            num_prefix_tokens=key.num_prefix_tokens,
            global_pool=key.global_pool,
            norm=key.norm,
            pre_norm=key.pre_norm,
            final_norm=key.final_norm,
        )
        return Chain((arch,), (1,))
    context = key.context
    around = replace(
        frame,
        embed_dim=context.embed_dim,
        norm=context.norm,
        act=context.act,
        qkv_bias=context.qkv_bias,
        rope_dim=context.rope_dim,
    )
    first = () if key.company == "alone" or background is None else (background,)
    # In busy company the background is there already, so the short chain may be that alone.
    lengths = CHAIN_LENGTHS if not first else (0, CHAIN_LENGTHS[1])
    archs = tuple(replace(around, blocks=(*first, *(key.block,) * length)) for length in lengths)
    return Chain(archs, lengths)


def slope(lengths: Sequence[int], latencies_ms: Sequence[float], *, relative_sd: float) -> tuple[float, float]:
    """Fit latency against chain length by weighted least squares.

    Args:
        lengths: Units in each chain; a single 1 (a stem) returns its latency as it is.
        latencies_ms: Measured latency of each.
        relative_sd: Standard error of one measurement relative to its value.

    Returns:
        Slope per unit in milliseconds and its standard error.
    """
    if len(lengths) == 1:
        return latencies_ms[0], relative_sd * latencies_ms[0]
    weights = [1 / value**2 for value in latencies_ms]
    total = sum(weights)
    mean_length = sum(w * k for w, k in zip(weights, lengths, strict=True)) / total
    mean_ms = sum(w * t for w, t in zip(weights, latencies_ms, strict=True)) / total
    spread = sum(w * (k - mean_length) ** 2 for w, k in zip(weights, lengths, strict=True))
    rise = sum(w * (k - mean_length) * (t - mean_ms) for w, k, t in zip(weights, lengths, latencies_ms, strict=True))
    return rise / spread, relative_sd / math.sqrt(spread)
