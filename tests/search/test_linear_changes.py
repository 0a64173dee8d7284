"""Logits of nets near one net, by its gradients."""

import contextlib
import copy
import dataclasses
from typing import Any

import pytest
import torch

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.vit import Attention, Mlp, PlainViT
from nuwa_search.search import linear_changes
from nuwa_search.search.linear_changes import LinearChanges, centred_basis, net_changes
from nuwa_search.search.streams import Streams
from tests.support.sliced_vit import BASE, SlicingDeriver, make_scorer, make_teacher
from tests.support.vit_parts import mlp_of


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding to bf16 is not the matter here."""
    monkeypatch.setattr(linear_changes, "scoring_context", contextlib.nullcontext)


@pytest.fixture(scope="module")
def teacher() -> PlainViT:
    return make_teacher()


@pytest.fixture(scope="module")
def inputs(teacher: PlainViT) -> torch.Tensor:
    return make_scorer(teacher).inputs[:6]


@torch.inference_mode()
def centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def shifted(teacher: PlainViT, place: int, *, by: float) -> PlainViT:
    """Move the output of one MLP by a little."""
    net = copy.deepcopy(teacher)
    rng = torch.Generator().manual_seed(place)
    with torch.no_grad():
        mlp_of(net, place).fc2.bias.add_(by * torch.randn(net.arch.embed_dim, generator=rng))
    return net


@pytest.mark.parametrize("place", [0, 1])
def test_a_small_change_counts_as_the_gradient_says(teacher: PlainViT, inputs: torch.Tensor, place: int) -> None:
    changes, by = LinearChanges(teacher, inputs), 1e-2
    with torch.inference_mode():
        ahead, back = (shifted(teacher, place, by=sign * by)(inputs) for sign in (1, -1))
        found = changes.run(shifted(teacher, place, by=by)) - changes.logits
    wanted = centred(ahead - back) / 2  # of the second order terms, nothing is left
    assert float(wanted.abs().max()) > 1e-3
    torch.testing.assert_close(centred(found), wanted, rtol=2e-2, atol=2e-5)


def test_what_differs_up_to_the_last_branch_is_exact_and_nothing_changes_nothing(
    teacher: PlainViT, inputs: torch.Tensor
) -> None:
    changes, deriver = LinearChanges(teacher, inputs), SlicingDeriver(teacher)
    last = dataclasses.replace(BASE, blocks=(*BASE.blocks[:2], BlockSpec(1, 16, 8, 16)))
    gone = dataclasses.replace(BASE, blocks=(*BASE.blocks[:2], BlockSpec(0, 0, 0, 0)))
    narrow = SlicingDeriver(teacher, touch_stem=True)
    with torch.inference_mode():
        for arch in (last, gone):
            net = deriver.derive(arch)
            torch.testing.assert_close(changes.run(net), net(inputs), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(changes.run(deriver.derive(BASE)), teacher(inputs), rtol=1e-4, atol=1e-5)
        stem = changes.run(narrow.derive(BASE))
        torch.testing.assert_close(stem, narrow.derive(BASE)(inputs), rtol=1e-4, atol=1e-5)


def test_only_the_branches_that_differ_are_run(
    teacher: PlainViT, inputs: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, deriver = LinearChanges(teacher, inputs), SlicingDeriver(teacher)
    ran: list[torch.nn.Module] = []
    for kind in (Attention, Mlp):
        forward = kind.forward

        def counted(body: torch.nn.Module, x: torch.Tensor, forward: Any = forward) -> Any:
            ran.append(body)
            return forward(body, x)

        monkeypatch.setattr(kind, "forward", counted)

    def runs_of(block: BlockSpec) -> list[torch.nn.Module]:
        """Cut the second block of three."""
        ran.clear()
        net = deriver.derive(dataclasses.replace(BASE, blocks=(BASE.blocks[0], block, BASE.blocks[2])))
        with torch.inference_mode():
            changes.run(net)
        return [getattr(found, name) for found in net.blocks for name in ("attn", "mlp") if getattr(found, name) in ran]

    full = BASE.blocks[1]
    assert [type(body) for body in runs_of(dataclasses.replace(full, num_heads=1))] == [Attention]
    assert [type(body) for body in runs_of(dataclasses.replace(full, mlp_width=8))] == [Mlp]
    assert [type(body) for body in runs_of(dataclasses.replace(full, num_heads=1, mlp_width=8))] == [Attention, Mlp]
    assert runs_of(BlockSpec(0, 0, 0, 0)) == []  # what comes in is what should have come out


def test_gradients_are_for_one_answer_out_of_few_classes(teacher: PlainViT, inputs: torch.Tensor) -> None:
    assert isinstance(net_changes(teacher, inputs), LinearChanges)
    many = PlainViT(dataclasses.replace(BASE, num_classes=linear_changes.MAX_CLASSES + 1))
    assert isinstance(net_changes(many, inputs), Streams)


def test_the_basis_spans_centred_logits() -> None:
    basis = centred_basis(5)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4))
    torch.testing.assert_close(basis.sum(dim=0), torch.zeros(4), atol=1e-6, rtol=0)


def test_nets_that_share_nothing_or_another_head_are_run_whole(teacher: PlainViT, inputs: torch.Tensor) -> None:
    changes = LinearChanges(teacher, inputs)
    torch.manual_seed(1)
    narrow = PlainViT(dataclasses.replace(BASE, embed_dim=16)).eval()
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.weight.add_(0.1)
    with torch.inference_mode():
        for net in (narrow, other):
            torch.testing.assert_close(changes.run(net), net(inputs), rtol=1e-4, atol=1e-5)


def test_gradients_are_found_again_in_any_order_and_few_are_kept(
    teacher: PlainViT, inputs: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_changes, "KEPT_GRADIENTS", 2)
    changes, nets = LinearChanges(teacher, inputs), [shifted(teacher, place, by=1e-2) for place in (0, 1)]
    with torch.inference_mode():
        fresh = [LinearChanges(teacher, inputs).run(net) for net in nets]
        for place in (1, 0, 1, 1, 0):
            assert torch.equal(changes.run(nets[place]), fresh[place])
            assert len(changes._kept) <= 2
