"""Widths that subnets of a base may take, and the rows that a latency table of them can have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.unit import BlockContext, BlockKey, Company, context_of

# Tiles and vector units of every runtime here work on multiples of 8; the search snaps to them too.
WIDTH_STEP = 8


@dataclass(frozen=True)
class Axes:
    """Widths per branch, ascending; 0 (a branch gone) is always possible besides.

    Args:
        num_heads: Numbers of heads.
        qk_dims: Widths of query and key per head.
        v_dims: Widths of value per head.
        mlp_widths: Hidden neurons.
        embed_dims: Widths of the residual stream below the base's; such subnets use RMSNorm, because the
            rotation that makes the stream prunable turns LayerNorm into it. Empty: never cut.
    """

    num_heads: tuple[int, ...]
    qk_dims: tuple[int, ...]
    v_dims: tuple[int, ...]
    mlp_widths: tuple[int, ...]
    embed_dims: tuple[int, ...] = ()


def steps_up_to(width: int, *, step: int = WIDTH_STEP) -> tuple[int, ...]:
    """List the multiples of ``step`` up to ``width``, and ``width`` itself; nothing for 0."""
    return tuple(sorted({*range(step, width + 1, step), width})) if width else ()


def axes_of(base: Arch, *, embed_dims: Sequence[int] = ()) -> Axes:
    """Span every width that a cut of ``base`` may take, in steps of 8 (heads in steps of 1).

    Raises:
        NuwaError: If the base lacks attention or MLPs, or an embedding width is above its own.
    """
    widest = BlockSpec(
        max((b.num_heads for b in base.blocks), default=0),
        max((b.qk_dim for b in base.blocks), default=0),
        max((b.v_dim for b in base.blocks), default=0),
        max((b.mlp_width for b in base.blocks), default=0),
    )
    if not (widest.has_attn and widest.has_mlp):
        raise NuwaError(f"arch {base.arch_id} has no attention or no MLP to cut from")
    if any(not 0 < d <= base.embed_dim for d in embed_dims):
        raise NuwaError(f"embedding widths of subnets must lie between 1 and {base.embed_dim}, found {embed_dims}")
    return Axes(
        num_heads=tuple(range(1, widest.num_heads + 1)),
        qk_dims=steps_up_to(widest.qk_dim),
        v_dims=steps_up_to(widest.v_dim),
        mlp_widths=steps_up_to(widest.mlp_width),
        embed_dims=tuple(sorted(set(embed_dims))),
    )


def contexts_in(base: Arch, axes: Axes) -> list[list[BlockContext]]:
    """List the contexts of all subnets, grouped by what is interpolated together."""
    own = context_of(base)
    cut = [replace(own, embed_dim=d, norm="rmsnorm") for d in axes.embed_dims]
    if own.norm == "rmsnorm":
        return [list(dict.fromkeys([own, *cut]))]
    return [[own], cut] if cut else [[own]]


def attn_keys(axes: Axes, contexts: Sequence[BlockContext], *, company: Company = "alone") -> list[BlockKey]:
    """List every attention branch in ``contexts``."""
    shapes = [BlockSpec(h, q, v, 0) for h, q, v in product(axes.num_heads, axes.qk_dims, axes.v_dims)]
    return [BlockKey(shape, context, company) for context in contexts for shape in shapes]


def mlp_keys(axes: Axes, contexts: Sequence[BlockContext], *, company: Company = "alone") -> list[BlockKey]:
    """List every MLP branch in ``contexts``."""
    return [BlockKey(BlockSpec(0, 0, 0, w), context, company) for context in contexts for w in axes.mlp_widths]


def spread(values: Sequence[int], count: int) -> list[int]:
    """Pick ``count`` values evenly, ends included."""
    if count >= len(values):
        return list(values)
    if count <= 1:
        return list(values[-1:])
    return sorted({values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)})


def coarse(axes: Axes, *, per_axis: int, mlp: int, embed: int) -> Axes:
    """Thin the axes to the coarse grid that is measured first.

    Args:
        axes: All widths.
        per_axis: Most values of each axis of attention: heads, query and key, value.
        mlp: Most MLP widths.
        embed: Most embedding widths.
    """
    return Axes(
        num_heads=tuple(spread(axes.num_heads, per_axis)),
        qk_dims=tuple(spread(axes.qk_dims, per_axis)),
        v_dims=tuple(spread(axes.v_dims, per_axis)),
        mlp_widths=tuple(spread(axes.mlp_widths, mlp)),
        embed_dims=tuple(spread(axes.embed_dims, embed)) if axes.embed_dims else (),
    )


def farthest_first(keys: Sequence[BlockKey]) -> list[BlockKey]:
    """Order keys so that every prefix is spread over all of them: widest first, then the farthest from those before.

    Distance is in octaves of width; ties go to the earlier key.
    """
    places = [_place(key) for key in keys]
    left = list(range(len(keys)))
    if not left:
        return []
    order = [max(left, key=lambda i: sum(places[i]))]
    left.remove(order[0])
    nearest = {i: math.dist(places[i], places[order[0]]) for i in left}
    while left:
        chosen = max(left, key=lambda i: nearest[i])
        order.append(chosen)
        left.remove(chosen)
        for i in left:
            nearest[i] = min(nearest[i], math.dist(places[i], places[chosen]))
    return [keys[i] for i in order]


def _place(key: BlockKey) -> tuple[float, ...]:
    block = key.block
    widths = (key.context.embed_dim, block.num_heads, block.qk_dim, block.v_dim, block.mlp_width)
    return tuple(math.log2(1 + w) for w in widths)
