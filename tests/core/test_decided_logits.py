"""Answers in bf16 rank the classes as FP32 does."""

import pytest
import torch
from torch import Tensor, nn

from nuwa_search.core import decided_logits as decided
from nuwa_search.core.decided_logits import PROBES, decided_logits
from nuwa_search.core.heads import features_of, with_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import TOP_K, logits_of
from nuwa_search.core.tensors import SplitTensors, TaskTensors, features_key
from nuwa_search.core.vit import PlainViT
from tests.support.derive_models import PREPROCESS, make_model, make_split


@pytest.fixture(scope="module")
def net() -> PlainViT:
    return make_model("token").eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return make_split(120).images


@pytest.fixture(autouse=True)
def _with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "has_bf16", lambda device: True)


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images run in FP32, call by call."""
    counts: list[int] = []

    def watched(model: nn.Module, images: Tensor, preprocess: Preprocess) -> Tensor:
        counts.append(len(images))
        return logits_of(model, images, preprocess)

    monkeypatch.setattr(decided, "logits_of", watched)
    return counts


def test_largest_and_five_largest_logits_are_those_of_fp32(
    net: PlainViT, images: Tensor, in_fp32: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decided, "_rough_logits", _off_by_known_errors)
    found, exact = decided_logits(net, images, PREPROCESS), logits_of(net, images, PREPROCESS)
    rough = _off_by_known_errors(net, images, PREPROCESS)
    assert int((rough.argmax(dim=1) != exact.argmax(dim=1)).sum()) > 0  # else there is nothing to mend
    assert torch.equal(found.argmax(dim=1), exact.argmax(dim=1))
    for best, wanted in zip(found.topk(TOP_K).indices, exact.topk(TOP_K).indices, strict=True):
        assert set(best.tolist()) == set(wanted.tolist())
    assert in_fp32[0] == PROBES
    assert sum(in_fp32) < len(images)


def test_of_the_five_largest_labels_ask_for_their_own_place_only(
    images: Tensor, in_fp32: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six classes two of the last are nearly always close together, and seldom one of them is the label."""
    net = _with_classes(make_model("token"), 6)
    exact, rough = logits_of(net, images, PREPROCESS), _off_by_known_errors(net, images, PREPROCESS)
    labels, last = exact.argmax(dim=1), exact.topk(TOP_K).indices[:, -1]
    is_turned = ~_is_among_five(rough, last)
    labels[is_turned] = last[is_turned]
    monkeypatch.setattr(decided, "_rough_logits", _off_by_known_errors)
    found = decided_logits(net, images, PREPROCESS, labels=labels)
    of_labels = sum(in_fp32)
    in_fp32.clear()
    decided_logits(net, images, PREPROCESS)
    assert of_labels < sum(in_fp32)
    assert torch.equal(found.argmax(dim=1), exact.argmax(dim=1))
    assert bool(is_turned.any())  # else there is nothing to mend
    assert torch.equal(_is_among_five(found, labels), _is_among_five(exact, labels))


def test_one_class_leaves_nothing_in_doubt(images: Tensor, in_fp32: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "_rough_logits", logits_of)
    decided_logits(_with_classes(make_model("token"), 1), images, PREPROCESS)
    assert in_fp32 == [PROBES]


def test_features_that_are_known_save_the_run(net: PlainViT, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "_rough_logits", None)  # fails when called
    split = SplitTensors(images, torch.zeros(len(images), dtype=torch.int64))
    tensors = TaskTensors(split, split, PREPROCESS)
    tensors.known.put(features_key(net, split), features_of(net, images, PREPROCESS))
    assert torch.equal(tensors.search_logits(net).argmax(dim=1), logits_of(net, images, PREPROCESS).argmax(dim=1))


def test_devices_without_bf16_answer_in_fp32(net: PlainViT, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "has_bf16", lambda device: False)
    assert torch.equal(decided_logits(net, images, PREPROCESS), logits_of(net, images, PREPROCESS))


def _off_by_known_errors(model: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Move each logit by at most a tenth of the median lead of the largest, as bf16 would, but alike on any machine."""
    exact = logits_of(model, images, preprocess)
    best = exact.topk(2, dim=1).values
    lead = (best[:, 0] - best[:, 1]).median()
    signs = torch.linspace(0, 97, exact.numel()).view_as(exact).sin()
    return exact + 0.1 * lead * signs


def _with_classes(model: PlainViT, count: int) -> PlainViT:
    generator = torch.Generator().manual_seed(0)
    return with_head(model, torch.randn(count, model.arch.head_in_features, generator=generator), torch.zeros(count))


def _is_among_five(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.topk(TOP_K).indices == labels[:, None]).any(dim=1)
