"""The gate: the single subnet that routed images meet first, beside sub-models that all boards answer with."""

import dataclasses

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.decide import Rules, softmax
from nuwa_search.deploy.collaborate.fusion import Fusion, with_gate
from nuwa_search.deploy.collaborate.layout import Collaboration, collaboration_from_json, collaboration_to_json
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.predicted import has_cameras, predict_modes
from tests.support.toy_collaboration import DIM, LABELS, fitted_fusion, toy_images, toy_vectors

Toy = tuple[object, Collaboration]
GATE = 4


def gate_head() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(7)
    weight, bias = rng.normal(size=(DIM, len(LABELS))), rng.normal(size=len(LABELS))
    return weight.astype(np.float32), bias.astype(np.float32)


def gated(collaboration: Collaboration, *thresholds: float) -> Collaboration:
    """Put a gate on the first board, and let routed images meet it first."""
    gate = dataclasses.replace(collaboration.parts[0], name="gate", classes=(), predicted_ms=6.0, predicted_p95_ms=6.0)
    route = dataclasses.replace(collaboration.figures("route"), first=GATE, thresholds=thresholds)
    modes = (collaboration.figures("fuse"), collaboration.figures("any"), route)
    return dataclasses.replace(collaboration, parts=(*collaboration.parts, gate), modes=modes)


def test_a_gate_adds_its_logits_where_it_is_there_and_nothing_where_it_is_not() -> None:
    images, _ = toy_images(20)
    vectors, fusion = toy_vectors(images), fitted_fusion()
    weight, bias = gate_head()
    wider, own = with_gate(fusion, weight, bias), vectors[1]
    assert wider.vector_dims == (DIM,) * 5
    some = [vectors[0], None, vectors[2], vectors[3]]
    assert np.allclose(wider.fuse_all([*some, None]), fusion.fuse_all(some), atol=1e-4)
    assert np.allclose(wider.fuse_all([*some, own]), fusion.fuse_all(some) + own @ weight + bias, atol=1e-4)
    assert np.allclose(wider.alone(GATE, own), own @ weight + bias)
    linear = Fusion((np.zeros((4 * DIM + 4, 8), np.float32),), fusion.biases[1:], fusion.own_weights, fusion.own_biases)
    with pytest.raises(NuwaError, match="without a hidden layer"):
        with_gate(linear, weight, bias)


def test_only_routed_images_meet_the_gate_and_unsure_ones_go_to_everybody(toy: Toy) -> None:
    collaboration, fusion = gated(toy[1], 0.5, 1.01, 0.5), with_gate(fitted_fusion(), *gate_head())
    everyone = {0, 1, 2, 3, GATE}
    for mode in ("fuse", "any"):
        rules = Rules(collaboration, fusion, collaboration.figures(mode))
        assert rules.first(everyone) == (0, 1, 2, 3)
        assert rules.more({0: np.zeros(DIM, np.float32)}, [0, 1, 2, 3], set(), everyone) is None
    rules = Rules(collaboration, fusion, collaboration.figures("route"))
    assert rules.first(everyone) == (GATE,)
    assert rules.first({1, 2, 3}) == (1, 2, 3), "its board is away"
    weight, bias = gate_head()
    flat = np.linalg.lstsq(weight.T, -bias, rcond=None)[0].astype(np.float32)
    sure = np.asarray(99 * weight[:, 2], np.float32)
    assert softmax(flat @ weight + bias).max() < 0.5 < softmax(sure @ weight + bias).max()
    assert rules.more({GATE: sure}, [GATE], set(), everyone) is None
    assert rules.more({GATE: flat}, [GATE], set(), everyone) == (0, 1, 2, 3)
    assert rules.more({}, [GATE], set(), {1, 2, 3}) == (1, 2, 3), "the gate is lost"
    vectors = [one[0] for one in toy_vectors(toy_images(1)[0])]
    product = softmax(fitted_fusion().fuse([*vectors])) * softmax(flat @ weight + bias)
    together = rules.chances({**dict(enumerate(vectors)), GATE: flat})
    assert together == pytest.approx(product / product.sum(), abs=1e-5)


def test_a_folder_with_a_gate_is_read_back_and_its_boards_are_predicted_without_it(toy: Toy) -> None:
    collaboration = gated(toy[1], 0.5, 1.01, 0.5)
    assert collaboration.gate == GATE
    assert toy[1].gate is None
    assert collaboration_from_json(collaboration_to_json(collaboration), where="it") == collaboration
    before, after = (predict_modes(one)[0].latency for one in (toy[1], collaboration))
    assert before == after, "all boards together never run it"
    assert has_cameras(collaboration) == has_cameras(toy[1])
    with pytest.raises(NuwaError, match="two sub-models without classes"):
        dataclasses.replace(collaboration, parts=(*collaboration.parts, dataclasses.replace(
            collaboration.parts[GATE], name="other")))  # fmt: skip
    fewer = dataclasses.replace(collaboration.figures("any"), needed=5)
    with pytest.raises(NuwaError, match="needed"):
        dataclasses.replace(collaboration, modes=(collaboration.figures("fuse"), fewer))
