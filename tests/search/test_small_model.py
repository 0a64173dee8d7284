from pathlib import Path

import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_macs
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.judge import Distilled
from nuwa_search.search.small_model import fresh_model, is_pretrained, pick_small_arch, pretrained_small, small_archs

BASE = Arch(blocks=(BlockSpec(3, 16, 16, 192),) * 4, embed_dim=48, num_classes=10, img_size=16, patch_size=8)


def test_small_archs_are_uniform_and_no_larger_than_the_base() -> None:
    archs = list(small_archs(BASE))
    assert len(archs) == len({arch.arch_id for arch in archs}) == 3 * 4
    for arch in archs:
        assert len(set(arch.blocks)) == 1
        assert arch.blocks[0].mlp_width == 4 * arch.embed_dim
        assert count_macs(arch) <= count_macs(BASE)
    assert BASE in archs


@pytest.mark.parametrize("budget", [0.05, 0.3, 1.0])
def test_the_largest_that_fits_is_picked_with_few_measurements(budget: float) -> None:
    asked: list[Arch] = []

    def fits(arch: Arch) -> bool:
        asked.append(arch)
        return count_macs(arch) / count_macs(BASE) <= budget

    picked = pick_small_arch(BASE, fits=fits)
    assert len(asked) < len(list(small_archs(BASE)))
    assert picked is not None
    assert count_macs(picked) == max(count_macs(a) for a in small_archs(BASE) if fits(a))
    assert pick_small_arch(BASE, fits=lambda arch: False) is None


def test_fresh_models_depend_on_the_seed_only() -> None:
    a, b, c = (fresh_model(BASE, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["head.weight"], c["head.weight"])
    assert a["pos_embed"].std() > 0


def test_pretraining_happens_once_per_shape(tmp_path: Path) -> None:
    calls: list[int] = []

    def pretrain(model: PlainViT, steps: int) -> Distilled:
        calls.append(steps)
        return Distilled(model, 0.5, 1.0)

    cache = Cache(tmp_path)
    assert not is_pretrained(BASE, steps=7, cache=cache, identity=["base", "data"])
    first = pretrained_small(BASE, pretrain=pretrain, steps=7, cache=cache, identity=["base", "data"])
    again = pretrained_small(BASE, pretrain=pretrain, steps=7, cache=cache, identity=["base", "data"])
    pretrained_small(BASE, pretrain=pretrain, steps=7, cache=cache, identity=["base", "other data"])
    assert calls == [7, 7]
    assert is_pretrained(BASE, steps=7, cache=cache, identity=["base", "data"])
    assert not is_pretrained(BASE, steps=8, cache=cache, identity=["base", "data"])
    assert torch.equal(first.head.weight, again.head.weight)
