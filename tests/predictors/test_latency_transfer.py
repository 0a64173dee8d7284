import json

import numpy as np
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.latency.predictor import LatencyPredictor, Subject
from nuwa_search.predictors.latency.transfer import choose_nets, transfer, transfer_curve
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.predictors.report_card import coverage_of, errors_of
from nuwa_search.predictors.sample_archs import sample_archs
from nuwa_search.predictors.transfer_profile import profile_by_transfer
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

SUBJECT = Subject("other", "0" * 16, "measured")
SOURCE = Formula(launch_attn=0.12, launch_mlp=0.06)
UNSEEN = sample_archs(BASE, np.random.default_rng(77), 200)


class Slower:
    """Launches 1.6 times and works 1.44 times as slowly, as a board in a lower power mode."""

    formula = Formula(launch_attn=0.12 * 1.6, launch_mlp=0.06 * 1.6, stem_ms=0.3 * 1.5)

    def latency(self, arch: Arch) -> float:
        slow = _Worked(**vars(self.formula))
        return slow.latency(arch)


class _Worked(Formula):
    def work(self, arch: Arch, block: BlockSpec) -> tuple[float, float]:
        attn_ms, mlp_ms = super().work(arch, block)
        return 1.44 * attn_ms, 1.44 * mlp_ms


@pytest.fixture(scope="module")
def source() -> LatencyPredictor:
    settings = ProfileSettings(num_fit=24, num_heldout=4, repeats=1, max_rows=64)
    return profile(ClosedFormDevice(SOURCE), BASE, export=export, settings=settings).predictor


@pytest.fixture(scope="module")
def nets(source: LatencyPredictor) -> tuple[list[Arch], list[float]]:
    chosen = choose_nets(source, sample_archs(BASE, np.random.default_rng(5), 60))
    return chosen, [Slower().latency(arch) for arch in chosen]


def test_ten_measurements_carry_a_predictor_over(
    source: LatencyPredictor, nets: tuple[list[Arch], list[float]]
) -> None:
    moved = transfer(source, *nets, subject=SUBJECT)
    truth = np.array([Slower().latency(arch) for arch in UNSEEN])
    assert errors_of(source.predict(UNSEEN).value, truth).mape > 0.2
    prediction = moved.predict(UNSEEN)
    assert errors_of(prediction.value, truth).mape < 0.02
    assert coverage_of(prediction, truth) > 0.8
    assert moved.subject.provenance == "transferred"
    assert moved.scale.launch > moved.scale.work > 1.2
    assert source.subject.provenance == "measured"


def test_a_transferred_predictor_survives_json(source: LatencyPredictor, nets: tuple[list[Arch], list[float]]) -> None:
    moved = transfer(source, *nets, subject=SUBJECT)
    back = LatencyPredictor.from_dict(json.loads(json.dumps(moved.to_dict())))
    np.testing.assert_allclose(back.predict(UNSEEN).upper, moved.predict(UNSEEN).upper)
    assert back.predictor_id == moved.predictor_id != source.predictor_id


def test_more_measurements_do_not_hurt(source: LatencyPredictor, nets: tuple[list[Arch], list[float]]) -> None:
    curve = transfer_curve(source, *nets, subject=SUBJECT)
    assert [step.num_measurements for step in curve] == list(range(1, 10))
    assert curve[-1].mape < curve[0].mape


def test_nets_are_chosen_over_the_whole_range(source: LatencyPredictor) -> None:
    pool = sample_archs(BASE, np.random.default_rng(6), 50)
    values = source.predict(pool).value
    chosen = source.predict(choose_nets(source, pool)).value
    assert len(chosen) == 10
    assert (chosen.min(), chosen.max()) == (values.min(), values.max())


@pytest.mark.parametrize(("count", "value"), [(1, 1.0), (11, 1.0), (4, -1.0)])
def test_impossible_transfers_are_refused(source: LatencyPredictor, count: int, value: float) -> None:
    with pytest.raises(NuwaError):
        transfer(source, UNSEEN[:count], [value] * count, subject=SUBJECT)


def test_a_profile_by_transfer_measures_ten_nets(source: LatencyPredictor) -> None:
    device = ClosedFormDevice(SOURCE)
    result = profile_by_transfer(device, BASE, source=source, export=export)
    assert result.models_measured == len(device.measured) == 10
    truth = np.array([SOURCE.latency(arch) for arch in UNSEEN])
    assert errors_of(result.predictor.predict(UNSEEN).value, truth).mape < 0.01
    assert result.predictor.subject.device_name == "formula"
