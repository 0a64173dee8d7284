"""Whole nets from changed logits: closed forms on random numbers, no net is needed."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.predictors.accuracy import AdditivePrior, ChangeModel, KLPredictor, singles_from_library

FULL = BlockSpec(2, 16, 16, 64)
BASE = Arch(blocks=(FULL,) * 3, embed_dim=32, num_classes=4, img_size=16, patch_size=8)
SPECS = (
    BlockSpec(0, 0, 0, 64),
    BlockSpec(2, 16, 16, 0),
    BlockSpec(2, 16, 16, 16),
    BlockSpec(2, 16, 16, 32),
    BlockSpec(1, 16, 16, 64),
    BlockSpec(2, 8, 16, 64),
)
RNG = np.random.default_rng(0)
DELTAS: dict[tuple[int, BlockSpec], npt.NDArray[np.float32]] = {
    (i, spec): RNG.standard_normal((8, 4)).astype(np.float32) * np.float32(0.2) for i in range(3) for spec in SPECS
}
TARGETS = F.log_softmax(torch.from_numpy(RNG.standard_normal((8, 4)).astype(np.float32)), dim=1).numpy()


def arch_of(**changed: BlockSpec) -> Arch:
    return dataclasses.replace(BASE, blocks=tuple(changed.get(f"b{i}", FULL) for i in range(3)))


def kl(logits: np.ndarray) -> float:
    found = F.log_softmax(torch.from_numpy(logits).double(), dim=1)
    return float(F.kl_div(found, torch.from_numpy(TARGETS).double(), reduction="batchmean", log_target=True))


@pytest.fixture
def model() -> ChangeModel:
    archs = [arch_of(**{f"b{i}": spec}) for i, spec in DELTAS]
    return ChangeModel(singles_from_library(BASE, archs, list(DELTAS.values())), TARGETS)


def test_the_base_is_at_zero_and_single_cuts_are_what_was_measured(model: ChangeModel) -> None:
    assert model.kl([BASE])[0] == pytest.approx(0, abs=1e-6)
    for (i, spec), delta in DELTAS.items():
        assert model.kl([arch_of(**{f"b{i}": spec})])[0] == pytest.approx(kl(TARGETS + delta), rel=1e-5)


def test_cuts_in_several_blocks_and_both_branches_add_up(model: ChangeModel) -> None:
    both = BlockSpec(0, 0, 0, 32)
    total = TARGETS + DELTAS[0, SPECS[4]] + DELTAS[2, SPECS[0]] + DELTAS[2, SPECS[3]]
    assert model.kl([arch_of(b0=SPECS[4], b2=both)])[0] == pytest.approx(kl(total), rel=1e-5)
    assert len(model.kl([])) == 0


def test_between_measured_widths_the_change_is_interpolated(model: ChangeModel) -> None:
    between = TARGETS + (DELTAS[1, SPECS[2]] + DELTAS[1, SPECS[3]]) / 2
    assert model.kl([arch_of(b1=BlockSpec(2, 16, 16, 24))])[0] == pytest.approx(kl(between), rel=1e-5)
    beside = TARGETS + DELTAS[1, SPECS[3]] / 2
    assert model.kl([arch_of(b1=BlockSpec(2, 16, 16, 48))])[0] == pytest.approx(kl(beside), rel=1e-5)


def test_near_a_net_that_was_run_its_own_logits_and_moves_count(model: ChangeModel) -> None:
    cut = arch_of(b0=SPECS[0], b1=SPECS[1])
    logits = RNG.standard_normal((8, 4)).astype(np.float32)
    half = {(2, spec): DELTAS[2, spec] * np.float32(0.5) for spec in SPECS[:3]}
    anchor = model.add(cut, logits, half)
    assert anchor.gain == pytest.approx(0.5)
    assert model.kl([cut])[0] == pytest.approx(kl(logits), rel=1e-5)
    moved = arch_of(b0=SPECS[0], b1=SPECS[1], b2=SPECS[2])
    assert model.kl([moved])[0] == pytest.approx(kl(logits + DELTAS[2, SPECS[2]] / 2), rel=1e-5)
    unmeasured = arch_of(b0=SPECS[0], b1=SPECS[1], b2=SPECS[5])  # the base's change times the net's factor
    assert model.kl([unmeasured])[0] == pytest.approx(kl(logits + DELTAS[2, SPECS[5]] / 2), rel=1e-5)
    far = arch_of(b2=SPECS[0])  # the base is nearer
    assert model.kl([far])[0] == pytest.approx(kl(TARGETS + DELTAS[2, SPECS[0]]), rel=1e-5)


def test_cuts_that_cancel_cost_nothing_where_their_sum_of_kls_says_otherwise(model: ChangeModel) -> None:
    delta = DELTAS[0, SPECS[0]]
    archs = [arch_of(b0=SPECS[0]), arch_of(b1=SPECS[0])]
    opposed = ChangeModel(singles_from_library(BASE, archs, [delta, -delta]), TARGETS)
    single = kl(TARGETS + delta)
    prior = AdditivePrior(BASE, {(0, SPECS[0]): single, (1, SPECS[0]): single}, {})
    both = arch_of(b0=SPECS[0], b1=SPECS[0])
    assert KLPredictor(prior).predict([both]).value[0] == pytest.approx(2 * single, rel=1e-6)
    assert KLPredictor(prior, changes=opposed).predict([both]).value[0] == pytest.approx(0, abs=1e-6)
    wrong = KLPredictor(prior, changes=opposed).fit([both, BASE, archs[0]], [0.4, 0.0, single])
    assert wrong.predict([both]).value[0] > 0.05  # whole nets that were scored correct the sum
