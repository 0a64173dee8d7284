"""Attention in bf16 on a CPU: plain products of a few images at a time, where no gradient is wanted."""

import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core import vit
from nuwa_search.core.vit import attend

WIDTHS = [(16, 16), (8, 16), (16, 4)]


def drawn(qk_dim: int, v_dim: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(5, 3, 20, width, generator=rng) for width in (qk_dim, qk_dim, v_dim)]


@pytest.mark.parametrize(("qk_dim", "v_dim"), WIDTHS)
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("most_tokens", [19, 20])
def test_bf16_is_multiplied_as_it_is_unless_gradients_of_many_tokens_and_one_width_are_wanted(
    monkeypatch: pytest.MonkeyPatch, qk_dim: int, v_dim: int, is_training: bool, most_tokens: int
) -> None:
    monkeypatch.setattr(vit, "MAX_PLAIN_TOKENS", most_tokens)
    q, k, v = drawn(qk_dim, v_dim)
    wanted = F.scaled_dot_product_attention(q, k, v)
    with torch.set_grad_enabled(is_training):
        assert torch.equal(attend(q, k, v), wanted)
        fused: list[int] = []

        def counted(*_: torch.Tensor) -> torch.Tensor:
            fused.append(1)
            return wanted

        monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
        found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert bool(fused) is (is_training and qk_dim == v_dim and most_tokens < 20)
    torch.testing.assert_close(found.float(), wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("at_once", [1, 2, 100])
@torch.no_grad()
def test_how_many_images_are_taken_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    q, k, v = (part.bfloat16() for part in drawn(16, 4))
    whole = attend(q, k, v)
    monkeypatch.setattr(vit, "SCORES_AT_ONCE", at_once * 3 * 20 * 20)
    assert torch.equal(attend(q, k, v), whole)
