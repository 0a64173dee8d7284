import dataclasses

import pytest

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.accuracy import flat_prior, prior_from_library
from nuwa_search.predictors.accuracy.prior import AdditivePrior

FULL = BlockSpec(3, 32, 32, 128)


@pytest.fixture
def base() -> Arch:
    return Arch(blocks=(FULL,) * 3, embed_dim=96, num_classes=5, img_size=32, patch_size=8)


def with_block(base: Arch, i: int, spec: BlockSpec) -> Arch:
    return dataclasses.replace(base, blocks=(*base.blocks[:i], spec, *base.blocks[i + 1 :]))


@pytest.fixture
def library(base: Arch) -> list[tuple[Arch, float]]:
    """KL of single replacements of block 1, as (arch, kl)."""
    specs = {
        BlockSpec(0, 0, 0, 128): 0.16,
        BlockSpec(3, 32, 32, 0): 0.36,
        EMPTY_BLOCK: 0.78,
        BlockSpec(3, 16, 32, 128): 0.01,
        BlockSpec(3, 32, 16, 128): 0.04,
        BlockSpec(1, 32, 32, 128): 0.09,
        BlockSpec(3, 32, 32, 64): 0.04,
    }
    rows = [(with_block(base, 1, spec), kl) for spec, kl in specs.items()]
    rows.append((dataclasses.replace(base, embed_dim=48, norm="rmsnorm"), 0.25))
    return rows


@pytest.fixture
def prior(base: Arch, library: list[tuple[Arch, float]]) -> AdditivePrior:
    return prior_from_library(base, [a for a, _ in library], [k for _, k in library])


def test_measured_replacements_are_returned_as_measured(
    prior: AdditivePrior, library: list[tuple[Arch, float]]
) -> None:
    for arch, kl in library:
        assert prior.additive(arch) == pytest.approx(kl)


def test_the_base_costs_nothing(prior: AdditivePrior, base: Arch) -> None:
    assert prior.additive(base) == 0


def test_costs_of_different_blocks_add_up(base: Arch) -> None:
    rows = [(with_block(base, i, BlockSpec(3, 32, 32, 64)), 0.1 * (i + 1)) for i in range(3)]
    prior = prior_from_library(base, [a for a, _ in rows], [k for _, k in rows])
    both = with_block(with_block(base, 0, BlockSpec(3, 32, 32, 64)), 2, BlockSpec(3, 32, 32, 64))
    assert prior.additive(both) == pytest.approx(0.4)


def test_between_widths_the_root_is_interpolated(prior: AdditivePrior) -> None:
    attn, mlp = prior.block_cost(1, BlockSpec(3, 32, 32, 96))
    assert attn == 0
    assert mlp == pytest.approx((0.2 / 2) ** 2)  # halfway between sqrt(0.04) at 64 and 0 at 128
    assert prior.block_cost(1, BlockSpec(3, 32, 32, 32))[1] == pytest.approx(((0.2 + 0.6) / 2) ** 2)
    assert prior.embed_cost(72) == pytest.approx((0.5 / 2) ** 2)


def test_narrower_heads_cost_only_where_heads_are_left(prior: AdditivePrior) -> None:
    assert prior.block_cost(1, BlockSpec(3, 16, 16, 128))[0] == pytest.approx(0.01 + 0.04)
    assert prior.block_cost(1, BlockSpec(1, 16, 16, 128))[0] == pytest.approx(0.09 + (0.01 + 0.04) / 3)


def test_a_whole_block_is_shared_between_its_branches(prior: AdditivePrior) -> None:
    attn, mlp = prior.block_cost(1, EMPTY_BLOCK)
    assert attn + mlp == pytest.approx(0.78)
    assert attn / mlp == pytest.approx(0.16 / 0.36)


def test_without_a_library_branches_cost_alike(base: Arch) -> None:
    prior = flat_prior(base)
    costs = {prior.block_cost(i, BlockSpec(0, 0, 0, 128)) for i in range(3)}
    assert len(costs) == 1
    assert prior.additive(with_block(base, 0, EMPTY_BLOCK)) > prior.additive(
        with_block(base, 0, BlockSpec(3, 32, 32, 64))
    )


def test_rows_that_change_two_places_are_refused(base: Arch) -> None:
    two = with_block(with_block(base, 0, EMPTY_BLOCK), 2, EMPTY_BLOCK)
    with pytest.raises(NuwaError, match="changes 2 places"):
        prior_from_library(base, [two], [0.5])
    with pytest.raises(NuwaError, match="blocks, its base 3"):
        prior_from_library(base, [two.compact()], [0.5])
