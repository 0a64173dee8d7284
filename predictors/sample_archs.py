"""Random subnets of a base: what latency predictors are fitted to and judged on.

Three families in equal shares, so that neither "all blocks alike" nor "all blocks different" is
missing: independent widths per block, one set of widths for all blocks, and widths scattered around
a common rate. Source for mixing uniform and non-uniform samples: common practice since
Once-for-All (arXiv 1908.09791); the shares are ours.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.axes import Axes, axes_of

# Share of samples that cut the embedding, where that is asked for.
CUT_EMBED_SHARE = 0.3


def sample_archs(base: Arch, rng: np.random.Generator, num_archs: int, *, embed_dims: Sequence[int] = ()) -> list[Arch]:
    """Draw different subnets of ``base``, base excluded.

    Args:
        base: What is cut; every subnet fits in it, positions kept.
        rng: Source of randomness; the same state gives the same subnets.
        num_archs: Number of subnets.
        embed_dims: Widths of the residual stream to cut to in 30 % of the samples; empty for none.

    Raises:
        NuwaError: If the space holds too few different subnets.
    """
    axes = axes_of(base, embed_dims=embed_dims)
    found: dict[str, Arch] = {}
    taken = {base.arch_id}
    for attempt in range(50 * num_archs + 100):
        if len(found) == num_archs:
            break
        arch = _draw(base, axes, rng, family=attempt % 3)
        if arch.depth and arch.arch_id not in taken:
            found[arch.arch_id] = arch
            taken.add(arch.arch_id)
    if len(found) < num_archs:
        raise NuwaError(f"only {len(found)} different subnets of arch {base.arch_id} were found, {num_archs} wanted")
    return list(found.values())


def _draw(base: Arch, axes: Axes, rng: np.random.Generator, *, family: int) -> Arch:
    drop_block = rng.uniform(0, 0.7) if rng.random() < 0.7 else 0.0
    drop_branch = rng.uniform(0, 0.4) if rng.random() < 0.7 else 0.0
    rate, scatter = rng.uniform(0.05, 1.0), rng.uniform(0.05, 0.3)
    shared = rng.random(4)
    blocks = []
    for whole in base.blocks:
        if family == 0:
            shares = rng.random(4)
        elif family == 1:
            shares = shared
        else:
            shares = np.clip(rate + scatter * rng.standard_normal(4), 0.0, 1.0)
        has_attn = whole.has_attn and rng.random() >= drop_branch
        has_mlp = whole.has_mlp and rng.random() >= drop_branch
        if rng.random() < drop_block:
            has_attn = has_mlp = False
        blocks.append(_block(whole, axes, shares, has_attn=has_attn, has_mlp=has_mlp))
    arch = replace(base, blocks=tuple(blocks))
    if axes.embed_dims and rng.random() < CUT_EMBED_SHARE:
        arch = replace(arch, embed_dim=int(rng.choice(axes.embed_dims)), norm="rmsnorm")
    return arch


def _block(whole: BlockSpec, axes: Axes, shares: np.ndarray, *, has_attn: bool, has_mlp: bool) -> BlockSpec:
    def pick(widths: tuple[int, ...], share: float, limit: int) -> int:
        allowed = [w for w in widths if w <= limit]
        return allowed[min(len(allowed) - 1, int(share * len(allowed)))]

    heads = pick(axes.num_heads, shares[0], whole.num_heads) if has_attn else 0
    qk = pick(axes.qk_dims, shares[1], whole.qk_dim) if has_attn else 0
    v = pick(axes.v_dims, shares[2], whole.v_dim) if has_attn else 0
    mlp = pick(axes.mlp_widths, shares[3], whole.mlp_width) if has_mlp else 0
    return BlockSpec(heads, qk, v, mlp) if has_attn or has_mlp else EMPTY_BLOCK
