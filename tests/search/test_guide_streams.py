"""The base's streams that refined subnets are aimed at: kept for several, or computed on the way."""

from collections import Counter

import pytest
import torch

from nuwa_search.core.logits import normalise
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive import guide_streams
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.forward import Branch, branches_of
from nuwa_search.search.derive.guide_streams import GuideStreams
from nuwa_search.search.derive.options import DeriveOptions
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_blocks

SAMPLED = DeriveOptions(num_images=60, sensitivity_images=0, moment_tokens=4)
ALL_TOKENS = DeriveOptions(num_images=60, sensitivity_images=0, moment_tokens=0)


@torch.no_grad()
def stream_before(model: PlainViT, images: torch.Tensor, index: int) -> torch.Tensor:
    x = model.embed(normalise(images, PREPROCESS))
    for branch in branches_of(model):
        if branch.index < index:
            x = x + branch.writer(branch.regressors(x))
    return x


@pytest.mark.parametrize("tokens", [0, 4])
@pytest.mark.parametrize("is_kept", [False, True])
def test_streams_are_those_of_the_base_at_the_tokens_that_are_seen(
    monkeypatch: pytest.MonkeyPatch, tokens: int, is_kept: bool
) -> None:
    model, split = make_model("registers"), make_split(12)
    monkeypatch.setattr(guide_streams, "STATISTICS_TOKENS", 5 * model.arch.num_tokens)  # three chunks
    guide = GuideStreams(model, split, PREPROCESS, tokens=tokens, bf16=False, is_kept=is_kept)
    assert [len(part) for part in guide.inputs()] == [5, 5, 2]
    for index in (0, 1, 3, 2 * len(model.arch.blocks)):
        whole = stream_before(model, split.images, index)
        wanted = torch.cat([sample.pick(part) for sample, part in zip(guide.samples, whole.split(5), strict=True)])
        torch.testing.assert_close(torch.cat(guide.before(index)), wanted)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(guide.logits()), model(normalise(split.images, PREPROCESS)))


def test_streams_on_the_way_are_not_held() -> None:
    model = make_model("token")
    guide = GuideStreams(model, make_split(6), PREPROCESS, tokens=4, bf16=False)
    guide.before(0)
    guide.before(2)
    assert guide.before(2) is guide.before(2)
    with pytest.raises(ValueError, match="before branch 0 was not kept"):
        guide.before(0)


@pytest.mark.parametrize(("options", "times"), [(SAMPLED, 1), (ALL_TOKENS, 2)])
def test_quick_looks_at_two_subnets_run_the_base_once(
    monkeypatch: pytest.MonkeyPatch, options: DeriveOptions, times: int
) -> None:
    """Unless all tokens are seen: those of all branches would take too much memory."""
    model = make_model("token")
    deriver = Deriver(model, make_split(40), PREPROCESS, options=options)
    plan, ran = deriver.prepare(), Counter[int]()
    regressors = Branch.regressors

    def counted(self: Branch, x: torch.Tensor) -> torch.Tensor:
        ran[id(self.body)] += 1
        return regressors(self, x)

    monkeypatch.setattr(Branch, "regressors", counted)
    archs = [with_blocks(model.arch, mlp_width=width) for width in (16, 24)]
    for arch in archs:
        deriver.derive_refined(arch, max_images=20)
    assert {ran[id(branch.body)] for branch in branches_of(plan.model)} == {times}


def test_subnets_are_refined_alike_whatever_was_looked_at_before() -> None:
    model = make_model("token")
    one, other = with_blocks(model.arch, mlp_width=16), with_blocks(model.arch, num_heads=2)
    fresh, used = (Deriver(model, make_split(40), PREPROCESS, options=SAMPLED) for _ in range(2))
    used.derive_refined(other, max_images=20)
    for max_images in (20, None):
        wanted = fresh.derive_refined(one, max_images=max_images).state_dict()
        found = used.derive_refined(one, max_images=max_images).state_dict()
        assert all(torch.equal(value, found[name]) for name, value in wanted.items())
