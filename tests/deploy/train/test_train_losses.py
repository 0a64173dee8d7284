import math

import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.train.losses import distil_kl, fit_feature_map, relation_kl, relation_loss, smooth_targets
from nuwa_search.deploy.train.traced import Qkv, Traced, middle_block, qkv_at
from tests.support.train_toys import make_vit
from tests.support.vit_parts import attention_of, block_of


def test_distil_kl_is_the_definition() -> None:
    student, teacher, t = torch.randn(5, 4), torch.randn(5, 4), 3.0
    expected = 0.0
    for s, p in zip(student, teacher, strict=True):
        p_t = [math.exp(v / t) / sum(math.exp(w / t) for w in p.tolist()) for v in p.tolist()]
        p_s = [math.exp(v / t) / sum(math.exp(w / t) for w in s.tolist()) for v in s.tolist()]
        expected += sum(a * math.log(a / b) for a, b in zip(p_t, p_s, strict=True))
    assert float(distil_kl(student, teacher, t)) == pytest.approx(t * t * expected / 5, rel=1e-4)


def test_distil_kl_vanishes_for_equal_logits_whatever_their_offset() -> None:
    logits = torch.randn(6, 3)
    assert float(distil_kl(logits + 7, logits, 2.0)) == pytest.approx(0, abs=1e-5)


def test_distil_gradient_hardly_depends_on_temperature_for_small_logits() -> None:
    teacher, norms = 0.01 * torch.randn(4, 3), []
    for t in (1.0, 4.0):
        student = torch.zeros(4, 3, requires_grad=True)
        distil_kl(student, teacher, t).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_smooth_targets_match_torch_label_smoothing() -> None:
    logits, labels = torch.randn(7, 5), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    mine = -(smooth_targets(labels, 5, 0.2) * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(mine, F.cross_entropy(logits, labels, label_smoothing=0.2))


def test_relation_is_zero_for_identical_features_and_permuted_heads() -> None:
    x = torch.randn(3, 6, 4 * 8)
    permuted = x.view(3, 6, 4, 8)[:, :, [2, 0, 3, 1]].flatten(2)
    assert float(relation_kl(x, x, student_dim=8, teacher_dim=8)) == pytest.approx(0, abs=1e-6)
    assert float(relation_kl(permuted, x, student_dim=8, teacher_dim=8)) == pytest.approx(0, abs=1e-6)


def test_relation_of_different_widths_is_the_definition() -> None:
    mine, theirs = torch.randn(2, 5, 3 * 4), torch.randn(2, 5, 2 * 7)
    total = 0.0
    for s, t in zip(mine, theirs, strict=True):
        p_s = torch.softmax(s @ s.T / math.sqrt(4), dim=1)
        p_t = torch.softmax(t @ t.T / math.sqrt(7), dim=1)
        total += float((p_t * (p_t / p_s).log()).sum())
    assert float(relation_kl(mine, theirs, student_dim=4, teacher_dim=7)) == pytest.approx(total / 10, rel=1e-3)


def test_relation_gradient_reaches_the_student_only() -> None:
    mine, theirs = (torch.randn(2, 5, 8, requires_grad=True) for _ in range(2))
    relation_kl(mine, theirs, student_dim=4, teacher_dim=4).backward()
    assert mine.grad is not None
    assert mine.grad.abs().sum() > 0
    assert theirs.grad is None


def test_relation_loss_weighs_its_parts() -> None:
    def qkv(seed: int) -> Qkv:
        rng = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(2, 5, 8, generator=rng) for _ in range(3))
        return Qkv(q, k, v, qk_dim=4, v_dim=4)

    a, b = qkv(0), qkv(1)
    parts = [float(relation_kl(getattr(a, n), getattr(b, n), student_dim=4, teacher_dim=4)) for n in "qkv"]
    expected = 0.2 * parts[0] + 0.1 * parts[1] + 0.3 * parts[2]
    assert float(relation_loss(a, b, (0.2, 0.1, 0.3))) == pytest.approx(expected, rel=1e-5)


def test_traced_is_the_vit_and_taps_what_the_block_computes() -> None:
    vit, x = make_vit(depth=3, num_heads=3, width=4), torch.randn(2, 3, 16, 16)
    tap = middle_block(vit)
    traced = Traced(vit, tap=tap)
    logits, features, tapped = traced(x)
    assert tap == 1
    torch.testing.assert_close(logits, vit(x))
    torch.testing.assert_close(features, vit.pool(vit.forward_features(x)))
    alone = qkv_at(vit, x, tap)
    for mine, theirs in zip(tapped, (alone.q, alone.k, alone.v), strict=True):
        torch.testing.assert_close(mine, theirs)
    stream = vit.blocks[0](vit.embed(x))
    norm1 = block_of(vit, 1).norm1
    assert norm1 is not None
    projected = attention_of(vit, 1).qkv(norm1(stream))
    torch.testing.assert_close(torch.cat(tapped, dim=2), projected)


def test_no_attention_no_relations() -> None:
    vit = make_vit(num_heads=0, width=0)
    assert middle_block(vit) is None
    with pytest.raises(NuwaError, match="without attention"):
        qkv_at(vit, torch.randn(1, 3, 16, 16), 0)


def test_feature_map_is_exact_where_features_are_affine_and_one_at_the_mean() -> None:
    x = torch.randn(200, 6)
    y = x @ torch.randn(6, 9) + torch.randn(9)
    fitted = fit_feature_map(x, y, ridge=0.0)
    assert float(fitted.loss(x, y)) == pytest.approx(0, abs=1e-6)
    blind = fit_feature_map(torch.zeros(200, 6), y)
    assert float(blind.loss(torch.zeros(200, 6), y)) == pytest.approx(1, rel=1e-4)
