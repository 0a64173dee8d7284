"""Which nets a measuring kit holds, and the table rows that come out of it.

A kit cannot look at one figure to choose the next, nor probe what keeps the board busy: it holds a
spread of branches, each behind the work of six whole blocks, and whole nets to fit to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cost import block_macs
from nuwa_search.core.device import Measurement
from nuwa_search.core.pooling import read_by_head
from nuwa_search.latency.table.axes import attn_keys, axes_of, coarse, contexts_in, farthest_first, mlp_keys
from nuwa_search.latency.table.chain import CHAIN_LENGTHS, chain_for, frame_of, slope
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, UnitKey, stem_of
from nuwa_search.predictors.sample_archs import sample_archs

# Rows and nets of a kit: about eighty builds, an hour or two on a Jetson Nano.
_NUM_ATTN, _NUM_MLP, _NUM_FIT, _NUM_HELDOUT = 16, 8, 24, 10
# How well a pinned board repeats, as trtexec logs of one show it.
_RELATIVE_SD = 0.005


@dataclass(frozen=True)
class KitPlan:
    """What a kit is made of.

    Args:
        keys: Rows.
        background: Block behind which rows in busy company are measured.
        fit: Whole nets to fit to.
        heldout: Whole nets for the report card.
    """

    keys: tuple[UnitKey, ...]
    background: BlockSpec
    fit: tuple[Arch, ...]
    heldout: tuple[Arch, ...]


def plan_kit(base: Arch, *, embed_dims: Sequence[int] = (), seed: int = 0) -> KitPlan:
    """Choose rows and nets for a kit; the same base and seed give the same kit.

    Raises:
        NuwaError: If there is nothing to cut in the base.
    """
    axes = coarse(axes_of(base, embed_dims=embed_dims), per_axis=4, mlp=16, embed=3)
    keys: list[UnitKey] = [stem_of(replace(base, global_pool=pool)) for pool in read_by_head(base)]
    for contexts in contexts_in(base, axes):
        for every, count in ((attn_keys(axes, contexts), _NUM_ATTN), (mlp_keys(axes, contexts), _NUM_MLP)):
            chosen = farthest_first(every)[:count]
            keys += [replace(key, company="busy") for key in chosen]
            keys += chosen[::2]
    rng = np.random.default_rng(seed)
    nets = sample_archs(base, rng, _NUM_FIT + _NUM_HELDOUT, embed_dims=embed_dims)
    return KitPlan(tuple(keys), background_like(base), tuple(nets[:_NUM_FIT]), tuple(nets[_NUM_FIT:]))


def background_like(base: Arch) -> BlockSpec:
    """Make one MLP as much work as the longest chain of the base's widest block."""
    place = {"embed_dim": base.embed_dim, "num_tokens": base.num_tokens}
    widest = max(base.blocks, key=lambda b: block_macs(b, **place))
    per_neuron = block_macs(BlockSpec(0, 0, 0, 1), **place)
    return BlockSpec(0, 0, 0, CHAIN_LENGTHS[-1] * block_macs(widest, **place) // per_neuron)


def nets_of(plan: KitPlan, *, base: Arch) -> list[tuple[Arch, str]]:
    """List the nets that a kit needs with the role of each, chains first."""
    frame = frame_of(base)
    chains = [arch for key in plan.keys for arch in chain_for(key, frame=frame, background=_behind(plan, key)).archs]
    nets = [(arch, "chain") for arch in chains]
    return nets + [(arch, "fit") for arch in plan.fit] + [(arch, "heldout") for arch in plan.heldout]


def rows_of(plan: KitPlan, models: Sequence[tuple[Arch, Measurement]], *, base: Arch) -> list[TableRow]:
    """Take the slopes of all rows whose chains were measured."""
    found = {arch.arch_id: m for arch, m in models if m.state.get("role") == "chain"}
    frame = frame_of(base)
    rows = []
    for key in plan.keys:
        chain = chain_for(key, frame=frame, background=_behind(plan, key))
        known = [found[arch.arch_id] for arch in chain.archs if arch.arch_id in found]
        if len(known) < len(chain.archs):
            continue
        medians = [m.latency_ms.median for m in known]
        latency_ms, sd_ms = slope(chain.lengths, medians, relative_sd=_RELATIVE_SD)
        stats = {"sd_ms": sd_ms, "chain_lengths": list(chain.lengths), "chain_ms": medians}
        rows.append(TableRow(key, latency_ms, known[0].provenance, stats))
    return rows


def _behind(plan: KitPlan, key: UnitKey) -> BlockSpec | None:
    return plan.background if isinstance(key, BlockKey) and key.company == "busy" else None
