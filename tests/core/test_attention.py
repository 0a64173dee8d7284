"""Attention whose two widths differ, in bf16 on a CPU."""

import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.vit import attend


@pytest.mark.parametrize(("qk_dim", "v_dim"), [(16, 16), (8, 16), (16, 4)])
def test_bf16_is_multiplied_as_it_is_and_only_equal_widths_are_fused(
    monkeypatch: pytest.MonkeyPatch, qk_dim: int, v_dim: int
) -> None:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, width, generator=rng) for width in (qk_dim, qk_dim, v_dim))
    wanted = F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(attend(q, k, v), wanted)
    fused: list[int] = []

    def counted(*_: torch.Tensor) -> torch.Tensor:
        fused.append(1)
        return wanted

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert bool(fused) is (qk_dim == v_dim)
    torch.testing.assert_close(found.float(), wanted, atol=2e-2, rtol=2e-2)
