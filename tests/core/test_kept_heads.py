"""Fitted heads are kept between runs."""

import dataclasses
from pathlib import Path

import pytest
import torch

from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.heads import choose_head, fit_head
from nuwa_search.core.kept_heads import kept_head
from nuwa_search.core.pooling import HeadPool
from nuwa_search.core.tensors import TaskTensors, features_key
from nuwa_search.core.vit import PlainViT
from tests.support.derive_models import PREPROCESS, make_model, make_split


@pytest.mark.parametrize("is_headless", [True, False])
def test_a_head_is_fitted_once_and_its_features_are_known_again(tmp_path: Path, is_headless: bool) -> None:
    base = Base("toy", make_model("token"), (), PREPROCESS, weights_id="w")
    cache = Cache(tmp_path)
    fitted: list[TaskTensors] = []

    def kept(tensors: TaskTensors, pool: HeadPool = "auto", weights_id: str = "w") -> PlainViT:
        def fit() -> PlainViT:
            fitted.append(tensors)
            if is_headless:
                return choose_head(base.model, tensors, num_classes=3, pool=pool)
            return fit_head(base.model, tensors.train, PREPROCESS, num_classes=3, known=tensors.known)

        asked = dataclasses.replace(base, weights_id=weights_id)
        return kept_head(asked, tensors, num_classes=3, pool=pool, cache=cache, fit=fit)

    def tensors(seed: int = 0) -> TaskTensors:
        return TaskTensors(make_split(60, num_classes=3, seed=seed), make_split(30, num_classes=3, seed=9), PREPROCESS)

    first, again = tensors(), tensors()
    one, other = kept(first), kept(again)
    assert len(fitted) == 1
    assert one.arch == other.arch
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    known = again.known.find(features_key(other, again.train))
    found = first.known.find(features_key(one, first.train))
    assert known is not None
    assert found is not None
    assert torch.equal(known, found)
    kept(tensors(seed=1))  # other images
    kept(tensors(), pool="avg")
    kept(tensors(), weights_id="v")
    assert len(fitted) == 4
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    kept(tensors())  # what is corrupt is fitted again
    assert len(fitted) == 5
