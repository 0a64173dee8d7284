import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.space import BlockChoices, SearchSpace, space_from_base

WIDTHS = (8, 16, 24, 32)


@st.composite
def spaces(draw: st.DrawFn, max_blocks: int = 3) -> SearchSpace:
    def widths(name: str, *, may_vanish: bool = False) -> tuple[int, ...]:
        chosen = draw(st.sets(st.sampled_from(WIDTHS), min_size=1, max_size=3), label=name)
        return tuple(sorted(chosen | ({0} if may_vanish and draw(st.booleans()) else set())))

    def block() -> BlockChoices:
        heads = tuple(sorted(draw(st.sets(st.integers(0, 3), min_size=1, max_size=3))))
        return BlockChoices(heads, widths("qk"), widths("v"), widths("mlp", may_vanish=True))

    blocks = tuple(block() for _ in range(draw(st.integers(1, max_blocks))))
    base = Arch(
        blocks=(BlockSpec(3, 32, 32, 32),) * len(blocks), embed_dim=32, num_classes=3, img_size=16, patch_size=8
    )
    embeds = tuple(sorted(draw(st.sets(st.sampled_from(WIDTHS), max_size=2)) | {32}))
    min_attn = draw(st.integers(0, sum(max(b.num_heads) > 0 for b in blocks)))
    return SearchSpace(base=base, blocks=blocks, embed_dims=embeds, min_attn=min_attn)


@settings(max_examples=30)
@given(spaces(max_blocks=2))
def test_size_is_the_number_of_distinct_archs(space: SearchSpace) -> None:
    if space.size <= 1000:
        every = list(space.enumerate())
        assert len(every) == len(set(every)) == space.size
        assert all(space.contains(arch) for arch in every)


@settings(max_examples=30)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_samples_round_trip_through_params_and_genomes(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert space.contains(arch)
    assert arch.fits_in(space.base)
    values = space.params_from_arch(arch)
    assert list(values) == list(space.params)
    assert space.arch_from_params(values) == arch
    genome = space.genome_from_arch(arch)
    assert space.arch_from_genome(genome) == arch


@settings(max_examples=30)
@given(spaces(), st.data())
def test_equal_shapes_have_one_canonical_form(space: SearchSpace, data: st.DataObject) -> None:
    sizes = [len(choices) for choices in space.params.values()]
    genome = np.array([data.draw(st.integers(0, size - 1)) for size in sizes], dtype=np.int64)
    arch = space.arch_from_genome(genome)
    canonical = space.genome_from_arch(arch)
    assert space.arch_from_genome(canonical) == arch
    assert np.array_equal(space.genome_from_arch(space.arch_from_genome(canonical)), canonical)
    for name, width in space.params_from_arch(arch).items():
        block, _, field = name.partition(".")
        if field in ("qk_dim", "v_dim") and not arch.blocks[int(block.removeprefix("block"))].has_attn:
            assert width == max(space.params[name])


@settings(max_examples=30)
@given(spaces())
def test_the_uniform_family_is_in_the_space_and_removes_no_branch(space: SearchSpace) -> None:
    for arch in space.uniform_family():
        assert space.contains(arch)
        for block, choices in zip(arch.blocks, space.blocks, strict=True):
            assert block.has_mlp == (max(choices.mlp_width) > 0)
            assert block.has_attn == (max(choices.num_heads) > 0)


@settings(max_examples=30)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_foreign_archs_are_not_contained(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    grown = dataclasses.replace(arch, blocks=(BlockSpec(4, 40, 40, 40), *arch.blocks[1:]))
    assert not space.contains(grown)
    assert not space.contains(dataclasses.replace(arch, blocks=(*arch.blocks, EMPTY_BLOCK)))
    assert not space.contains(dataclasses.replace(arch, num_classes=arch.num_classes + 1))
    with pytest.raises(NuwaError, match="not in the search space"):
        space.params_from_arch(grown)


def test_the_default_space_of_a_base() -> None:
    base = Arch(blocks=(BlockSpec(3, 64, 64, 768),) * 12, embed_dim=192, num_classes=5, img_size=32, patch_size=4)
    space = space_from_base(base)
    assert space.contains(base)
    assert space.params["block03.mlp_width"] == (0, 96, 192, 288, 384, 480, 576, 672, 768)
    assert space.params["block11.qk_dim"] == (16, 32, 48, 64)
    assert "embed_dim" not in space.params
    per_block = (1 + 3 * 4 * 4) * 9
    assert space.size == per_block**12 - 9**12


def test_a_cut_embedding_becomes_rmsnorm_as_derivation_makes_it() -> None:
    base = Arch(blocks=(BlockSpec(2, 8, 8, 16),), embed_dim=32, num_classes=2, img_size=8, patch_size=8)
    space = space_from_base(base, embed_dims=(16,))
    norms = {arch.embed_dim: arch.norm for arch in space.enumerate()}
    assert norms == {16: "rmsnorm", 32: "layernorm"}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (BlockChoices((0, 2), (16, 8), (16,), (16,)), "ascend"),
        (BlockChoices((0, 2), (12, 16), (16,), (16,)), "multiples of 8"),
        (BlockChoices((0, 3), (16,), (16,), (16,)), "ascend within 0..2"),
        (BlockChoices((0, 2), (0, 16), (16,), (16,)), "positive"),
        (BlockChoices((), (16,), (16,), (16,)), "ascend"),
    ],
)
def test_impossible_choices_are_named(choices: BlockChoices, message: str) -> None:
    base = Arch(blocks=(BlockSpec(2, 16, 16, 16),), embed_dim=32, num_classes=2, img_size=8, patch_size=8)
    with pytest.raises(NuwaError, match=message):
        SearchSpace(base=base, blocks=(choices,), embed_dims=(32,))
