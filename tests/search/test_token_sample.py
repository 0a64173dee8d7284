"""Moments from a share of the tokens, and how many images they take."""

import dataclasses
from typing import Any

import pytest
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import classes_in_turn
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive import statistics
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.ranking_error import RankingError
from nuwa_search.search.derive.sensitivity import collect_sensitivity, indifferent
from nuwa_search.search.derive.statistics import Moments, Sampling, collect_moments
from nuwa_search.search.derive.token_sample import TokenSample, sample_tokens
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_blocks


def drawn(count: int, num_images: int = 400) -> TokenSample:
    generator = torch.Generator().manual_seed(0)
    return sample_tokens(
        num_images, num_prefix=2, num_patches=8, count=count, generator=generator, device=torch.device("cpu")
    )


def test_every_image_keeps_its_prefix_tokens_and_each_patch_is_taken_as_often() -> None:
    sample = drawn(3)
    assert sample.places is not None
    assert (sample.places[:, :2] == torch.tensor([0, 1])).all()
    assert all(len(set(row)) == 5 for row in sample.places.tolist())
    share = torch.bincount(sample.places[:, 2:].flatten(), minlength=10)[2:] / 400
    assert (share - 3 / 8).abs().max() < 4 * (3 / 8 * 5 / 8 / 400) ** 0.5  # four standard errors of a share
    assert sample.roots.square().sum() == pytest.approx(10)


def test_a_sample_of_tokens_that_are_all_alike_has_the_moments_of_all() -> None:
    x = torch.randn(6, 1, 4).expand(6, 10, 4)
    weights = torch.ones(10)
    for count in (0, 1, 3, 8):
        sample = drawn(count, num_images=6)
        rows = sample.pick(x) * sample.roots_with(weights.sqrt())
        torch.testing.assert_close(torch.einsum("bni,bnj->ij", rows, rows), torch.einsum("bni,bnj->ij", x, x))


def moments_of(model: PlainViT, split: SplitTensors, sampling: Sampling) -> Moments:
    weights = indifferent(model).tokens
    return collect_moments(model, split, PREPROCESS, token_weights=weights, reach=2, sampling=sampling)


@pytest.mark.parametrize("family", ["token", "registers"])
def test_moments_of_a_share_are_near_those_of_all_and_means_are_the_same(family: str) -> None:
    model, split = make_model(family), make_split(300)
    whole, part = (moments_of(model, split, Sampling(tokens=count)) for count in (0, 6))
    for index, mine in part.branches.items():
        theirs = whole.branches[index]
        assert torch.equal(mine.output, theirs.output)
        assert torch.equal(mine.query, theirs.query)
        for found, wanted in ((mine.gram, theirs.gram), (mine.ahead, theirs.ahead)):
            assert float((found - wanted).norm()) <= 0.05 * float(wanted.norm())
    again = moments_of(model, split, Sampling(tokens=6))
    assert all(torch.equal(m.gram, again.branches[i].gram) for i, m in part.branches.items())


def test_images_that_are_all_alike_are_soon_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("token")
    monkeypatch.setattr(statistics, "STATISTICS_TOKENS", 10 * model.arch.num_tokens)
    one = make_split(1).images.expand(100, -1, -1, -1)
    alike = moments_of(model, SplitTensors(one, torch.zeros(100, dtype=torch.int64)), Sampling(ranking_error=0.001))
    assert (alike.num_images, alike.ranking_error) == (70, 0.0)  # asked once 64 were seen, in groups of ten
    whole = moments_of(model, make_split(100), Sampling(ranking_error=1e-9))
    assert whole.num_images == 100
    assert whole.ranking_error > 0


def test_the_ranking_is_as_unsure_as_its_groups_differ() -> None:
    steady, torn = RankingError(), RankingError()
    assert steady.value() == 0
    for k in range(6):
        steady.add(1, torch.arange(40.0) * (1 + k))
        torn.add(1, torch.randn(40, generator=torch.Generator().manual_seed(k)).square())
    assert steady.value() == 0
    assert 0.05 < torn.value() < 0.5
    alone = RankingError()
    alone.add(1, torch.arange(40.0))
    assert alone.value() == 1


def test_leading_parts_of_images_in_turn_hold_the_classes_evenly() -> None:
    split = make_split(30, num_classes=3)
    ordered = split.take(torch.argsort(split.labels, stable=True))
    for count in (3, 12, 21):
        assert torch.bincount(classes_in_turn(ordered, 30).labels[:count]).tolist() == [count // 3] * 3
    assert len(classes_in_turn(ordered, 12)) == 12


def test_searches_look_at_images_in_part_and_small_ones_need_more_of_them() -> None:
    arch = make_model("token").arch
    large = dataclasses.replace(arch, img_size=224, patch_size=14)
    few, many = options_for(large), options_for(arch)
    assert 0 < few.moment_tokens < large.num_patches
    assert few.least_images < many.least_images
    assert len({options.canonical for options in (few, many, DeriveOptions())}) == 3  # subnet ids tell them apart
    assert "least_images" not in DeriveOptions().canonical  # ids of before stay


def test_more_images_can_be_taken_than_the_ranking_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = make_model("token"), make_split(300)
    monkeypatch.setattr(statistics, "STATISTICS_TOKENS", 10 * model.arch.num_tokens)
    sampling = Sampling(ranking_error=0.5, least_images=200)
    assert moments_of(model, split, sampling).num_images >= 200 > moments_of(model, split, Sampling(0, 0.5)).num_images


@pytest.mark.parametrize("family", ["token", "registers"])
def test_statistics_in_bf16_are_those_of_fp32_but_for_rounding(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwa_search.core.accelerator.cpu_has_bf16", lambda: True)
    model, split = make_model(family), make_split(60)
    weights = indifferent(model).tokens
    exact, near = (
        collect_moments(model, split, PREPROCESS, token_weights=weights, reach=2, bf16=bf16) for bf16 in (False, True)
    )
    for index, wanted in exact.branches.items():
        for field in ("gram", "output", "query", "key"):
            found, theirs = getattr(near.branches[index], field), getattr(wanted, field)
            assert found.dtype == torch.float32
            assert float((found - theirs).norm()) <= 0.03 * float(theirs.norm()) + 1e-6
    sense = [collect_sensitivity(model, split, PREPROCESS, bf16=bf16) for bf16 in (False, True)]
    assert float((sense[1].metric - sense[0].metric).norm()) <= 0.1 * float(sense[0].metric.norm())
    assert not torch.equal(sense[1].metric, sense[0].metric)  # it did run in bf16


@pytest.mark.parametrize(
    "wrong", [{"moment_tokens": -1}, {"ranking_error": 1.0}, {"ranking_error": -0.1}, {"least_images": 0}]
)
def test_shares_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NuwaError, match="tokens >= 0"):
        DeriveOptions(**wrong)


def test_cuts_from_sampled_statistics_are_repeated_and_close() -> None:
    model, split = make_model("token"), make_split(300)
    options = DeriveOptions(num_images=300, sensitivity_images=0, moment_tokens=6, ranking_error=1e-9)
    arch = with_blocks(model.arch, mlp_width=24)
    first, again = (Deriver(model, split, PREPROCESS, options=options).derive(arch) for _ in range(2))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
