"""The allocation keeps its budget, scores replacements right, and beats equal shares."""

import dataclasses

import pytest

from benchmarks.derive_bench.allocate import Point, allocate, arch_at, knapsack_points
from benchmarks.derive_bench.choices import ChoiceLibrary, KlJudge, measure_choices
from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.cost import count_macs
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.options import DeriveOptions
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_block, with_blocks


@pytest.fixture(scope="module")
def deriver() -> Deriver:
    return Deriver(make_model("avg"), make_split(200), PREPROCESS, options=DeriveOptions(num_images=200))


@pytest.fixture(scope="module")
def judge(deriver: Deriver) -> KlJudge:
    return KlJudge(deriver.model, make_split(60, seed=4), PREPROCESS)


@pytest.fixture(scope="module")
def library(deriver: Deriver) -> ChoiceLibrary:
    return measure_choices(deriver, make_split(60, seed=4), PREPROCESS)


def test_single_replacements_are_scored_as_whole_nets(deriver: Deriver, judge: KlJudge, library: ChoiceLibrary) -> None:
    base = deriver.model.arch
    for index, row in enumerate(library.branches):
        assert row[0].kl == 0.0
        last = row[-1]
        assert last.spec.is_empty
        old = base.blocks[index // 2]
        block = dataclasses.replace(old, mlp_width=0) if index % 2 else BlockSpec(0, 0, 0, old.mlp_width)
        whole = judge.kl(deriver.derive(with_block(base, index // 2, block)))
        assert last.kl == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("keep", [0.7, 0.4])
def test_allocation_fits_and_beats_equal_shares(
    deriver: Deriver, judge: KlJudge, library: ChoiceLibrary, keep: float
) -> None:
    base = deriver.model.arch
    budget = int(keep * count_macs(base))
    found = allocate(deriver, library, judge, max_macs=budget, steps=20)
    assert count_macs(found.arch) <= budget
    assert judge.kl(deriver.derive(found.arch)) == pytest.approx(found.kl, rel=1e-4)
    equal = with_blocks(base, qk_dim=max(1, round(8 * keep)), v_dim=max(1, round(8 * keep)), mlp_width=int(48 * keep))
    assert found.kl < judge.kl(deriver.derive(equal))
    assert allocate(deriver, library, judge, max_macs=budget, steps=20) == found


def test_knapsack_points_are_optimal_for_the_additive_model(library: ChoiceLibrary) -> None:
    small = dataclasses.replace(library, embed={library.base.embed_dim: 0.0}, branches=library.branches)
    budget = int(0.5 * count_macs(library.base))
    best = knapsack_points(small, budget)[0]

    def cost(point: Point) -> float:
        return sum(row[k].kl for row, k in zip(library.branches, point.places, strict=True))

    for branch in range(len(library.branches)):  # no single step that still fits is cheaper
        for place in range(len(library.branches[branch])):
            places = (*best.places[:branch], place, *best.places[branch + 1 :])
            other = Point(best.embed_dim, places)
            if count_macs(arch_at(library, other)) <= budget:
                assert cost(other) >= cost(best) - 1e-9


def test_without_removal_every_branch_stays(library: ChoiceLibrary) -> None:
    for point in knapsack_points(library.without_removal(), int(0.5 * count_macs(library.base))):
        arch = arch_at(library.without_removal(), point)
        assert all(block.has_attn and block.has_mlp for block in arch.blocks)
        assert arch.embed_dim == library.base.embed_dim


def test_a_budget_nothing_meets_is_an_answer_of_no(library: ChoiceLibrary) -> None:
    with pytest.raises(NoAnswerError, match="no subnet has at most 10 MACs"):
        knapsack_points(library, 10)


def test_subnet_ids_tell_positions_and_options_apart() -> None:
    base = make_model("avg").arch
    first, second = with_block(base, 0, BlockSpec(0, 0, 0, 0)), with_block(base, 1, BlockSpec(0, 0, 0, 0))
    assert first.arch_id == second.arch_id
    options = DeriveOptions()
    ids = {subnet_id(arch, "base", "task", options) for arch in (base, first, second)}
    ids |= {subnet_id(base, "other", "task", options), subnet_id(base, "base", "other", options)}
    ids.add(subnet_id(base, "base", "task", dataclasses.replace(options, ridge=1e-3)))
    assert len(ids) == 6
    assert subnet_id(base, "base", "task", DeriveOptions()) in ids
