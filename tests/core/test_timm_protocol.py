"""A subnet reads like a timm model: the same methods, and the same numbers as the base it is the whole of."""

from pathlib import Path

import pytest
import timm
import torch

from nuwa_search.core.base import load_base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import sides_of
from tests.support.toy_base import write_toy_base


@pytest.fixture
def toy_base(tmp_path: Path) -> Path:
    return write_toy_base(tmp_path / "base")


def test_the_whole_base_answers_as_timm_does(toy_base: Path) -> None:
    theirs = timm.create_model(f"local-dir:{toy_base}", pretrained=True).eval()
    ours = load_base(str(toy_base)).model
    images = torch.randn(2, 3, *sides_of(ours.arch.img_size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stream = ours.forward_features(images)
        wanted = theirs.forward_features(images)
        torch.testing.assert_close(ours.norm(stream), wanted, atol=1e-5, rtol=1e-5)
        for pre_logits in (False, True):
            got = ours.forward_head(stream, pre_logits=pre_logits)
            torch.testing.assert_close(got, theirs.forward_head(wanted, pre_logits=pre_logits), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(images), ours.forward_head(stream))
    assert (ours.num_classes, ours.num_features) == (theirs.num_classes, theirs.num_features)
    assert ours.head_hidden_size == theirs.head_hidden_size
    assert ours.get_classifier() is ours.head


def test_a_classifier_is_replaced_and_removed(toy_base: Path) -> None:
    model = load_base(str(toy_base)).model
    images = torch.zeros(1, 3, *sides_of(model.arch.img_size))
    model.reset_classifier(7)
    assert model(images).shape == (1, 7)
    assert model.arch.num_classes == model.num_classes == 7
    model.reset_classifier(0)
    assert model(images).shape == (1, model.head_hidden_size)
    assert model.num_classes == 0
    with pytest.raises(NuwaError, match="pooling 'dist' cannot work"):
        model.reset_classifier(3, global_pool="dist")
