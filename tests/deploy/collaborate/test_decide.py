"""Whom an image goes to, and when it is answered."""

import dataclasses

import numpy as np
import pytest

from nuwa_search.deploy.collaborate.decide import Rules, softmax
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.npz import Floats

Toy = tuple[object, Collaboration]


def identity_fusion() -> Fusion:
    """Answer with the sum of the vectors: each sub-model's vector is its logits over the eight classes."""
    eye, nothing = np.eye(8, dtype=np.float32), np.zeros(8, np.float32)
    weight = np.concatenate([eye] * 4 + [np.zeros((4, 8), np.float32)]).astype(np.float32)
    return Fusion((weight,), (nothing,), (eye,) * 4, (nothing,) * 4)


def rules_of(collaboration: Collaboration, mode: str, **changes: object) -> Rules:
    figures = dataclasses.replace(collaboration.figures(mode), **changes)  # type: ignore[arg-type]
    return Rules(collaboration, identity_fusion(), figures)


def vector(**logits: float) -> Floats:
    found = np.zeros(8, np.float32)
    for name, value in logits.items():
        found[int(name[1:])] = value
    return found


def test_all_are_asked_and_all_are_waited_for(toy: Toy) -> None:
    rules = rules_of(toy[1], "fuse")
    assert rules.first({0, 1, 3}) == (0, 1, 3)
    given = {0: vector(c0=1.0)}
    assert rules.more(given, [0, 1], {1}, {0, 1, 2, 3}) == ()
    assert rules.more(given, [0, 1], set(), {0, 1, 2, 3}) is None
    assert rules.more({}, [], set(), set()) == (), "nobody is there: wait for who returns"
    assert rules.more({}, [], set(), {2}) == (2,)
    assert rules.more({}, [2], set(), set()) is None


def test_k_of_n_ends_with_the_kth(toy: Toy) -> None:
    rules = rules_of(toy[1], "any", needed=2)
    assert rules.more({0: vector()}, [0, 1, 2, 3], {1, 2, 3}, {0, 1, 2, 3}) == ()
    assert rules.more({0: vector(), 3: vector()}, [0, 1, 2, 3], {1, 2}, {0, 1, 2, 3}) is None


def test_routing_asks_the_expert_of_the_likeliest_group_where_it_is_unsure(toy: Toy) -> None:
    rules = rules_of(toy[1], "route", thresholds=(0.9,), first=0)
    everyone = {0, 1, 2, 3}
    assert rules.first(everyone) == (0,)
    assert rules.first({1, 2}) == (1, 2), "without the first, all are asked"
    sure, unsure, own = vector(c6=9.0), vector(c4=2.0, c5=2.0), vector(c0=2.0, c1=2.0)
    assert rules.more({0: sure}, [0], set(), everyone) is None
    assert rules.more({0: unsure}, [0], set(), everyone) == (2,)
    assert rules.more({0: own}, [0], set(), everyone) is None, "it is the expert itself"
    assert rules.more({0: unsure}, [0], set(), {0, 1, 3}) == (1, 3), "the expert is away"
    assert rules.more({0: unsure, 2: unsure}, [0, 2], set(), everyone) is None
    assert rules.more({}, [0], set(), {1, 2, 3}) == (1, 2, 3), "the first is lost"
    twice = rules_of(toy[1], "route", thresholds=(0.9, 0.99), first=0)
    assert twice.more({0: unsure, 2: unsure}, [0, 2], set(), everyone) == (1, 3)
    assert twice.more({0: unsure, 2: vector(c4=20.0)}, [0, 2], set(), everyone) is None
    assert twice.more({0: own}, [0], set(), everyone) is None
    thrice = rules_of(toy[1], "route", thresholds=(0.9, 0.99, 0.8), first=0)
    assert thrice.more({0: own}, [0], set(), everyone) == (1, 2, 3), "it is the expert itself, and not sure"
    assert thrice.more({0: unsure}, [0], set(), everyone) == (2,)
    never = rules_of(toy[1], "route", thresholds=(0.9, 1.01, 0.0), first=0)
    assert never.more({0: unsure}, [0], set(), everyone) == (1, 2, 3), "no pair is sure: nobody waits for the expert"
    assert never.more({0: own}, [0], set(), everyone) is None


def test_vectors_are_fused_and_one_alone_has_its_own_head(toy: Toy) -> None:
    a, b = vector(c1=1.0), vector(c2=3.0)
    fused = rules_of(toy[1], "fuse").chances({0: a, 2: b})
    assert fused == pytest.approx(softmax(a + b), abs=1e-6)
    assert rules_of(toy[1], "route").chances({0: a}) == pytest.approx(softmax(a), abs=1e-6)
    assert float(fused.sum()) == pytest.approx(1, abs=1e-6)
