"""First trials: exact knapsack solutions over the library, the uniform family, random archs.

Latency is not additive, so the knapsack's answers are predicted again with the whole-net predictor and the best that
really fits is taken; its optimality gap speaks of the additive model only.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cost import count_macs
from nuwa_search.core.img_size import ImgSize
from nuwa_search.predictors.accuracy import AdditivePrior
from nuwa_search.predictors.contract import Predictor
from nuwa_search.search.feasible import Floats, Limits
from nuwa_search.search.knapsack import Group, Ints, ParetoSums, solve
from nuwa_search.search.mixed_latency import MixedLatency
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyConfig

SeedOrigin = Literal["seed", "uniform", "random"]

NEIGHBOUR_BUDGETS = (1.0, 0.95, 0.9)
"""Shares of the budget that are solved for: the additive optimum just below is often the better whole net."""

COST_POWERS = (1.0, 0.5)
"""Costs are KL to these powers: 1 adds KLs (independent disturbances), ½ adds their roots (aligned ones)."""

MIN_DIFFERENT_BLOCKS = 2
"""Seeds closer than this to one already taken are left to the local moves."""
KL_MARGIN = 0.02
"""Nats within which nets are near the best whatever their ratio: where KLs are near zero it says nothing."""

RANDOM_STREAM = 1_000_003
"""Sets the random seeds' stream apart from those of the proposals, which are numbered from 0."""
RANDOM_DRAWS = 500
"""Random archs predicted to find a few that fit; at tight budgets few or none do."""


@dataclass(frozen=True)
class Seed:
    """An arch to try first.

    Args:
        arch: Fits the budget by prediction.
        origin: Where it is from.
        additive_kl: What the library promises, KL in nats; None without a library.
        gap: Optimality gap of the additive model, a fraction; None outside the knapsack.
    """

    arch: Arch
    origin: SeedOrigin
    additive_kl: float | None
    gap: float | None = None


@dataclass(frozen=True)
class AdditiveFront:
    """The exact front of the additive model at one ``embed_dim``, one image size and one cost power."""

    space: SearchSpace
    embed_dim: int
    items: tuple[tuple[BlockSpec, ...], ...]
    sums: ParetoSums
    img_size: ImgSize

    def arch(self, point: int) -> Arch:
        """Build the arch of one point."""
        blocks = [specs[k] for specs, k in zip(self.items, self.sums.choices[point], strict=True)]
        return self.space.make(blocks, embed_dim=self.embed_dim, img_size=self.img_size)


def additive_fronts(space: SearchSpace, *, prior: AdditivePrior, latency: Predictor) -> list[AdditiveFront]:
    """Solve the knapsack for every ``embed_dim``, image size and cost power, all budgets at once.

    Times come from whole-net predictions with one branch changed, so no table format is known here.
    """
    fronts = []
    items = tuple(choices.specs for choices in space.blocks)
    for embed_dim, img_size in itertools.product(space.embed_dims, space.sizes):
        base = space.make(space.base.blocks, embed_dim=embed_dim, img_size=img_size)
        base_ms = float(latency.predict([base]).value[0])
        times = _block_times(space, items, base=base, base_ms=base_ms, latency=latency)
        for power in COST_POWERS:
            groups = [
                Group(times[i], np.array([sum(prior.block_cost(i, spec)) ** power for spec in specs]))
                for i, specs in enumerate(items)
            ]
            fixed = prior.embed_cost(embed_dim) ** power + prior.size_cost(img_size) ** power
            groups[0] = Group(groups[0].times + base_ms, groups[0].costs + fixed)
            sums = solve(groups)
            fronts.append(AdditiveFront(space, embed_dim, items, sums, img_size))
    return fronts


def fronts_of_limits(space: SearchSpace, *, prior: AdditivePrior, limits: Limits) -> list[AdditiveFront]:
    """Solve the knapsack for each device's times, and for all of them mixed as fractions of their limits.

    What keeps every limit also keeps each device's and the mixed one (a surrogate constraint: Glover, Operations
    Research 16(4), 1968), so the solutions of these knapsacks are where to look; those that keep every limit by
    whole-net prediction become seeds.
    """
    fronts = additive_fronts(space, prior=prior, latency=limits.latency)
    if not limits.others:
        return fronts
    by_device = limits.by_device
    mixed = MixedLatency(tuple((one.latency, by_device[0].budget_ms / one.budget_ms) for one in by_device))
    for latency in (*(one.latency for one in limits.others), mixed):
        fronts += additive_fronts(space, prior=prior, latency=latency)
    return fronts


def _block_times(
    space: SearchSpace,
    items: Sequence[Sequence[BlockSpec]],
    *,
    base: Arch,
    base_ms: float,
    latency: Predictor,
) -> list[Floats]:
    """Milliseconds that each block option adds to ``base`` (negative: saves), branch by branch."""
    whole = base.blocks
    keys: list[tuple[int, BlockSpec]] = []
    for i, specs in enumerate(items):
        full = whole[i]
        attn = {BlockSpec(s.num_heads, s.qk_dim, s.v_dim, full.mlp_width) for s in specs}
        mlp = {BlockSpec(full.num_heads, full.qk_dim, full.v_dim, s.mlp_width) for s in specs}
        keys += [(i, spec) for spec in sorted(attn | mlp)]
    archs = [space.with_blocks(base, [*whole[:i], spec, *whole[i + 1 :]]) for i, spec in keys]
    added = dict(zip(keys, latency.predict(archs).value - base_ms, strict=True))
    return [
        np.array(
            [
                added[i, BlockSpec(s.num_heads, s.qk_dim, s.v_dim, whole[i].mlp_width)]
                + added[i, BlockSpec(whole[i].num_heads, whole[i].qk_dim, whole[i].v_dim, s.mlp_width)]
                for s in specs
            ]
        )
        for i, specs in enumerate(items)
    ]


def knapsack_seeds(
    fronts: Sequence[AdditiveFront],
    *,
    prior: AdditivePrior,
    budget: Limits,
    num_seeds: int,
    is_spread: bool = False,
) -> list[Seed]:
    """Take the best points of the additive fronts that fit by whole-net prediction, for the budget and just below.

    Args:
        fronts: Of ``additive_fronts``.
        prior: Costs of the seeds in KL.
        budget: Without a latency limit, seeds are spread over the whole front.
        num_seeds: At most so many, near-duplicates left out.
        is_spread: Whether they are spread over all that fits a budget, too: where the whole front is looked for.
    """
    pools = []
    for front in fronts:
        points, archs = fitting_points(front, budget)
        if not len(points):
            continue
        upper = budget.upper_ms(archs)
        if budget.budget_ms is None or is_spread:
            targets = np.linspace(upper.max(), upper.min(), num_seeds)
        else:
            targets = budget.budget_ms * np.array(NEIGHBOUR_BUDGETS)
        for target in targets:
            within = np.flatnonzero(upper <= target)
            order = within[np.argsort(front.sums.costs[points[within]], kind="stable")][: 4 * num_seeds]
            pools.append([_seed(front, int(points[k]), archs[k], prior) for k in order])
    return _take_in_turn(pools, num_seeds)


def fitting_points(front: AdditiveFront, budget: Limits, *, at_most: int = 3000) -> tuple[Ints, list[Arch]]:
    """List points of a front, evenly thinned, whose archs are in the space and fit by whole-net prediction."""
    num = len(front.sums.times)
    points = np.unique(np.linspace(0, num - 1, min(num, at_most)).astype(np.int64))
    archs = [front.arch(int(p)) for p in points]
    keep = budget.fits(archs) & np.array([front.space.contains(arch) for arch in archs], dtype=bool)
    return points[keep], [arch for arch, kept in zip(archs, keep, strict=True) if kept]


def uniform_seeds(space: SearchSpace, *, prior: AdditivePrior | None, budget: Limits, num_seeds: int) -> list[Seed]:
    """Take the uniformly cut archs that fit: cheapest by the library, or largest without one.

    Args:
        space: Search space.
        prior: Costs of single cuts from the library; None takes the archs of most MACs first.
        budget: Limits that seeds have to keep by prediction.
        num_seeds: Most seeds.
    """
    family = list(space.uniform_family())
    fitting = [arch for arch, fits in zip(family, budget.fits(family), strict=True) if fits]
    if prior is None:
        fitting.sort(key=lambda arch: (-count_macs(arch), arch.arch_id))
        return [Seed(arch, "uniform", None) for arch in fitting[:num_seeds]]
    ranked = sorted(((prior.additive(arch), arch.arch_id, arch) for arch in fitting), key=lambda p: p[:2])
    return [Seed(arch, "uniform", kl) for kl, _, arch in ranked[:num_seeds]]


def make_seeds(
    space: SearchSpace,
    *,
    prior: AdditivePrior,
    fronts: Sequence[AdditiveFront],
    budget: Limits,
    config: StudyConfig,
) -> list[Seed]:
    """List the first trials: exact solutions first, then the uniform family, then random archs that fit.

    Without fronts (no library) the uniform family and random archs remain.

    Args:
        space: Search space.
        prior: Costs of single cuts, in KL.
        fronts: Solved knapsacks of ``fronts_of_limits``; empty without a library.
        budget: Limits that seeds have to keep by prediction.
        config: Number of seeds, random seed, and whether the whole front is wanted.
    """
    count = config.num_seeds
    num_exact = 3 * count // 4 if config.pareto else count // 2
    exact = knapsack_seeds(fronts, prior=prior, budget=budget, num_seeds=num_exact, is_spread=config.pareto)
    uniform = uniform_seeds(space, prior=prior if fronts else None, budget=budget, num_seeds=count // 4)
    rng = np.random.default_rng([config.seed, RANDOM_STREAM])
    drawn = [space.sample(rng) for _ in range(RANDOM_DRAWS)]
    fitting = [arch for arch, fits in zip(drawn, budget.fits(drawn), strict=True) if fits]
    spare = count - len(exact) - len(uniform)
    return [*exact, *uniform, *(Seed(arch, "random", None) for arch in fitting[:spare])]


def _seed(front: AdditiveFront, point: int, arch: Arch, prior: AdditivePrior) -> Seed:
    gap = front.sums.gap_within(float(front.sums.times[point]))
    return Seed(arch, "seed", prior.additive(arch), gap)


def _take_in_turn(pools: Sequence[Sequence[Seed]], count: int) -> list[Seed]:
    """Take the pools' first, then their second, … leaving near-duplicates for when nothing else is left."""
    ranks = range(max((len(pool) for pool in pools), default=0))
    ordered = [pool[rank] for rank in ranks for pool in pools if rank < len(pool)]
    taken: list[Seed] = []
    for least in (MIN_DIFFERENT_BLOCKS, 1):
        for seed in ordered:
            if len(taken) < count and all(num_different_blocks(seed.arch, t.arch) >= least for t in taken):
                taken.append(seed)
    return taken


def kl_limit(best_kl: float, *, times: float) -> float:
    """Return the KL up to which a net is near the best: ``times`` that, or ``KL_MARGIN`` beyond it if that is more."""
    return max(times * best_kl, best_kl + KL_MARGIN)


def num_different_blocks(a: Arch, b: Arch) -> int:
    """Count positions whose blocks differ, and one more each if ``embed_dim`` and image size do."""
    blocks = sum(x != y for x, y in zip(a.blocks, b.blocks, strict=True))
    return blocks + (a.embed_dim != b.embed_dim) + (a.img_size != b.img_size)
