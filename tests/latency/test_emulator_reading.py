"""Reading a model is done once per content."""

from collections import OrderedDict

import pytest

from nuwa_search.latency.emulator import reading
from nuwa_search.latency.emulator.fusion_rules import PLAIN_RULES, FusionRules
from nuwa_search.latency.emulator.reading import read_model
from tests.support.onnx_graphs import vit_model


def test_the_same_model_is_read_once_and_another_again() -> None:
    first = read_model(vit_model(depth=2))
    assert read_model(vit_model(depth=2)) is first
    other = read_model(vit_model(depth=3))
    assert other is not first
    assert len(other.kernels(PLAIN_RULES)) > len(first.kernels(PLAIN_RULES))


def test_kernels_are_kept_for_each_set_of_fusions() -> None:
    read = read_model(vit_model(depth=1))
    assert read.kernels(PLAIN_RULES) is read.kernels(PLAIN_RULES)
    assert len(read.kernels(FusionRules(attention=True))) < len(read.kernels(PLAIN_RULES))


def test_a_model_changed_in_place_is_read_again() -> None:
    model = vit_model(depth=1)
    first = read_model(model)
    del model.graph.node[-1]
    del model.graph.output[:]
    model.graph.output.extend([model.graph.value_info.add(name=model.graph.node[-1].output[0])])
    assert read_model(model) is not first


def test_no_more_are_kept_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_REMEMBERED", 2)
    monkeypatch.setattr(reading, "_remembered", OrderedDict())
    models = [vit_model(depth=depth) for depth in (1, 2, 3)]
    found = [read_model(model) for model in models]
    assert read_model(models[2]) is found[2]
    assert read_model(models[0]) is not found[0]
