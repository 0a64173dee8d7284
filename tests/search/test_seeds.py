from collections.abc import Callable

import numpy as np
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.predictors.accuracy import prior_from_library
from nuwa_search.predictors.accuracy.prior import AdditivePrior
from nuwa_search.search.feasible import Limits
from nuwa_search.search.library import library_archs
from nuwa_search.search.seeds import additive_fronts, knapsack_seeds, make_seeds, num_different_blocks, uniform_seeds
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency, KlOf, MakeSpace

PriorOf = Callable[[SearchSpace], AdditivePrior]


@pytest.fixture
def prior_of(kl_of: KlOf) -> PriorOf:
    def build(space: SearchSpace) -> AdditivePrior:
        archs = library_archs(space)
        return prior_from_library(space.base, archs, [kl_of(a, space.base) for a in archs])

    return build


def test_the_exact_seed_equals_brute_force_on_its_additive_objective(
    make_space: MakeSpace, latency: CountingLatency, prior_of: PriorOf
) -> None:
    space = make_space(4, heads=(0, 1, 2))
    assert space.size == 9**4 - 3**4 <= 20_000
    prior = prior_of(space)
    front = additive_fronts(space, prior=prior, latency=latency)[0]
    base_ms = latency.ms(space.base)

    def additive_ms(arch: Arch) -> float:
        total = base_ms
        for i, block in enumerate(arch.blocks):
            for spec in (_with_attn(block, space.base.blocks[i]), _with_mlp(block, space.base.blocks[i])):
                alone = space.make([*space.base.blocks[:i], spec, *space.base.blocks[i + 1 :]])
                total += latency.ms(alone) - base_ms
        return total

    every = list(space.enumerate())
    times = np.array([additive_ms(a) for a in every])
    kls = np.array([prior.additive(a) for a in every])
    for budget in (2.0, 2.5, 3.0):
        place = front.sums.best_within(budget)
        assert place is not None
        assert front.sums.costs[place] == pytest.approx(kls[times <= budget].min())
        assert front.sums.gap_within(budget) == 0
        assert prior.additive(front.arch(place)) == pytest.approx(front.sums.costs[place])


def _with_attn(block: BlockSpec, full: BlockSpec) -> BlockSpec:
    return BlockSpec(block.num_heads, block.qk_dim, block.v_dim, full.mlp_width)


def _with_mlp(block: BlockSpec, full: BlockSpec) -> BlockSpec:
    return BlockSpec(full.num_heads, full.qk_dim, full.v_dim, block.mlp_width)


def test_seeds_fit_by_the_whole_net_predictor_where_latency_is_not_additive(
    make_space: MakeSpace, prior_of: PriorOf
) -> None:
    class Crowded(CountingLatency):
        def ms(self, arch: Arch) -> float:
            return super().ms(arch) * (1.3 - 0.1 * arch.depth / len(arch.blocks))

    space, latency = make_space(5), Crowded()
    prior, budget = prior_of(space), Limits(latency, 2.9)
    fronts = additive_fronts(space, prior=prior, latency=latency)
    seeds = knapsack_seeds(fronts, prior=prior, budget=budget, num_seeds=6)
    assert len(seeds) == 6
    assert (latency.predict([s.arch for s in seeds]).upper <= 2.9).all()
    for a in seeds:
        assert space.contains(a.arch)
        assert all(a is b or num_different_blocks(a.arch, b.arch) >= 1 for b in seeds)


def test_seeds_of_a_front_are_spread_below_its_budget(
    make_space: MakeSpace, latency: CountingLatency, prior_of: PriorOf
) -> None:
    space = make_space(5)
    prior, budget = prior_of(space), Limits(latency, 2.9)
    fronts = additive_fronts(space, prior=prior, latency=latency)
    close = knapsack_seeds(fronts, prior=prior, budget=budget, num_seeds=6)
    spread = knapsack_seeds(fronts, prior=prior, budget=budget, num_seeds=6, is_spread=True)
    times, near = (latency.predict([seed.arch for seed in seeds]).upper for seeds in (spread, close))
    assert times.max() <= 2.9
    assert times.min() < near.min()


def test_uniform_seeds_are_the_cheapest_that_fit(
    make_space: MakeSpace, latency: CountingLatency, prior_of: PriorOf
) -> None:
    space = make_space(3, mlp=(0, 16, 32, 64), heads=(0, 1, 2))
    prior, budget = prior_of(space), Limits(latency, 3.0)
    seeds = uniform_seeds(space, prior=prior, budget=budget, num_seeds=2)
    fitting = [a for a in space.uniform_family() if 1.02 * latency.ms(a) <= 3.0]
    assert seeds[0].additive_kl == pytest.approx(min(prior.additive(a) for a in fitting))
    assert all(len(set(seed.arch.blocks)) == 1 for seed in seeds)


def test_without_a_budget_seeds_span_the_front(
    make_space: MakeSpace, latency: CountingLatency, prior_of: PriorOf
) -> None:
    space = make_space(5)
    prior = prior_of(space)
    fronts = additive_fronts(space, prior=prior, latency=latency)
    seeds = make_seeds(
        space, prior=prior, fronts=fronts, budget=Limits(latency, None), config=StudyConfig(num_seeds=12)
    )
    spread = [latency.ms(s.arch) for s in seeds if s.origin == "seed"]
    whole = latency.ms(space.base)
    assert min(spread) < 0.5 * whole
    assert max(spread) > 0.8 * whole
