"""Fitted heads are kept between runs."""

import dataclasses

import pytest
import torch

from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.heads import choose_head, features_key, fit_head
from nuwa_search.core.kept_heads import kept_head
from nuwa_search.core.tensors import TaskTensors
from tests.support.derive_models import PREPROCESS, make_model, make_split


@pytest.mark.parametrize("is_headless", [True, False])
def test_a_head_is_fitted_once_and_its_features_are_known_again(tmp_path, is_headless):
    base = Base("toy", make_model("token"), (), PREPROCESS, weights_id="w")
    cache, fitted = Cache(tmp_path), []

    def kept(tensors, pool="auto", weights_id="w"):
        def fit():
            fitted.append(tensors)
            if is_headless:
                return choose_head(base.model, tensors, num_classes=3, pool=pool)
            return fit_head(base.model, tensors.train, PREPROCESS, num_classes=3, known=tensors.known)

        asked = dataclasses.replace(base, weights_id=weights_id)
        return kept_head(asked, tensors, num_classes=3, pool=pool, cache=cache, fit=fit)

    def tensors(seed=0):
        return TaskTensors(make_split(60, num_classes=3, seed=seed), make_split(30, num_classes=3, seed=9), PREPROCESS)

    first, again = tensors(), tensors()
    one, other = kept(first), kept(again)
    assert len(fitted) == 1
    assert one.arch == other.arch
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    known = again.known.find(features_key(other, again.train))
    assert torch.equal(known, first.known.find(features_key(one, first.train)))
    kept(tensors(seed=1))  # other images
    kept(tensors(), pool="avg")
    kept(tensors(), weights_id="v")
    assert len(fitted) == 4
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    kept(tensors())  # what is corrupt is fitted again
    assert len(fitted) == 5
