"""Heads under rotary positions: heads, values and pairs of query and key channels cut as brute force says."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import normalise
from nuwa_search.core.weights import load_vit, save_weights
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.pairs import pair_plan
from nuwa_search.search.derive.rotation import narrow
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_blocks
from tests.support.vit_parts import attention_of

PLAINLY = DeriveOptions(num_images=40, sensitivity_images=0, least_squares=False, depth_correction=False)
HEADS, WIDTH = 3, 8


@pytest.fixture(scope="module")
def deriver() -> Deriver:
    return Deriver(make_model("rotary"), make_split(40), PREPROCESS, options=PLAINLY)


@pytest.fixture(scope="module")
def images(deriver: Deriver) -> torch.Tensor:
    return normalise(deriver.train.images[:8], PREPROCESS)


def same(one: nn.Module, other: nn.Module, images: torch.Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(one(images), other(images), atol=1e-4)


def test_a_head_that_goes_is_the_base_with_its_output_deleted(deriver: Deriver, images: torch.Tensor) -> None:
    deleted = copy.deepcopy(deriver.model)
    plan = deriver.prepare()
    with torch.no_grad():
        for i in range(len(deleted.blocks)):
            gone = plan.attention[2 * i].heads[-1]
            attention_of(deleted, i).proj.weight[:, gone * WIDTH : (gone + 1) * WIDTH] = 0.0
    assert same(deriver.derive(with_blocks(deriver.model.arch, num_heads=HEADS - 1)), deleted, images)


def test_pairs_that_go_are_the_base_with_their_queries_deleted_and_the_others_scaled(
    deriver: Deriver, images: torch.Tensor
) -> None:
    """Turning commutes with what is done to a pair as one, so the base can do it before turning."""
    arch = with_blocks(deriver.model.arch, qk_dim=WIDTH // 2)
    changed = copy.deepcopy(deriver.model)
    plan = deriver.prepare()
    with torch.no_grad():
        for i in range(len(changed.blocks)):
            pairs, qkv = plan.attention[2 * i].factors.pairs, attention_of(changed, i).qkv
            assert pairs is not None
            heads = list(range(HEADS))
            kept = pairs.kept(heads, WIDTH // 2)
            factors = torch.zeros(HEADS, WIDTH // 2, dtype=torch.float64).scatter(1, kept, pairs.gains(heads, kept))
            rows = factors.repeat(1, 2).flatten().float()
            qkv.weight[: HEADS * WIDTH] *= rows[:, None]
            qkv.bias[: HEADS * WIDTH] *= rows
    assert same(deriver.derive(arch), changed, images)


def test_pairs_are_chosen_and_scaled_as_least_squares_over_all_of_them_says() -> None:
    """Against the error of the best fit, by every pair that could go first and by the normal equations."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 400, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    query = query @ torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    moments = [x.mT @ x / 400 for x in (query, key)]
    plan = pair_plan(*moments, ridge=1e-9)
    assert plan.products is not None
    total = plan.products[0]
    count = WIDTH // 2

    def error(kept: list[int]) -> float:
        right = total[kept].sum(dim=1)
        return float(total.sum() - right @ torch.linalg.solve(total[kept][:, kept], right))

    left = list(range(count))
    for gone in plan.order[0].tolist()[::-1][:-1]:  # what a greedy search over all subsets of one less takes out
        smaller = list(itertools.combinations(left, len(left) - 1))
        best = min(smaller, key=lambda kept: error(list(kept)))
        assert set(left) - set(best) == {gone}
        left = list(best)
    everything = plan.kept([0], WIDTH)
    assert torch.allclose(plan.gains([0], everything), torch.ones(1, count, dtype=torch.float64))
    kept = plan.kept([0], 4)
    wanted = torch.linalg.solve(total[kept[0]][:, kept[0]], total[kept[0]].sum(dim=1))
    assert torch.allclose(plan.gains([0], kept)[0], wanted)


def test_a_cut_net_survives_its_files(deriver: Deriver, images: torch.Tensor, tmp_path: Path) -> None:
    arch = narrow(with_blocks(deriver.model.arch, qk_dim=4, num_heads=2, v_dim=5), 16)
    subnet = deriver.derive(arch)
    save_weights(subnet, tmp_path / "model.safetensors")
    assert same(load_vit(subnet.arch, tmp_path / "model.safetensors"), subnet, images)


def test_half_a_pair_is_refused(deriver: Deriver) -> None:
    with pytest.raises(NuwaError, match="an even qk_dim"):
        with_blocks(deriver.model.arch, qk_dim=3)
