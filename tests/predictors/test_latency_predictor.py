import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.latency.table.timer import MemoryNotebook
from nuwa_search.predictors.contract import Prediction, Predictor
from nuwa_search.predictors.latency.predictor import MIN_MODELS, LatencyPredictor, subject_of
from nuwa_search.predictors.profile import ProfileResult, ProfileSettings, profile
from nuwa_search.predictors.report_card import coverage_of, errors_of, report_card
from nuwa_search.predictors.sample_archs import sample_archs
from nuwa_search.testing.predictor import PredictorContract, Rows
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export
from tests.support.least_seconds import least_seconds

SETTINGS = ProfileSettings(num_fit=24, num_heldout=10, repeats=1, max_rows=64)
FED_IN_TIME = Formula()
LAUNCHED = Formula(launch_attn=0.12, launch_mlp=0.06)
UNSEEN = sample_archs(BASE, np.random.default_rng(77), 300)


def profiled(formula: Formula, *, settings: ProfileSettings = SETTINGS, noise: float = 0.0) -> ProfileResult:
    return profile(ClosedFormDevice(formula, noise=noise), BASE, export=export, settings=settings)


@pytest.fixture(scope="module")
def additive() -> ProfileResult:
    return profiled(FED_IN_TIME)


@pytest.fixture(scope="module")
def launched() -> ProfileResult:
    return profiled(LAUNCHED, noise=0.003)


def truth(formula: Formula, archs: Sequence[Arch] = UNSEEN) -> npt.NDArray[np.float64]:
    return np.array([formula.latency(arch) for arch in archs])


def test_an_additive_device_is_learned_almost_exactly(additive: ProfileResult) -> None:
    errors = errors_of(additive.predictor.predict(UNSEEN).value, truth(FED_IN_TIME))
    assert errors.mape < 0.003
    assert errors.spearman is not None
    assert errors.spearman > 0.999


def test_launches_that_hide_behind_work_are_learned(launched: ProfileResult) -> None:
    expected = truth(LAUNCHED)
    errors = errors_of(launched.predictor.predict(UNSEEN).value, expected)
    plain = errors_of(launched.predictor.block_sums(UNSEEN), expected)
    assert errors.mape < 0.009
    assert errors.within_5pct > 0.99
    assert plain.mape > 3 * errors.mape


def test_the_staircase_is_kept_between_measured_widths(additive: ProfileResult) -> None:
    def time_of(width: int) -> float:
        arch = dataclasses.replace(BASE, blocks=(BlockSpec(0, 0, 0, width),) * 6)
        return float(additive.predictor.predict([arch]).value[0])

    on_a_step = time_of(64) - time_of(8)
    over_the_edge = time_of(72) - time_of(64)
    step = 6 * FED_IN_TIME.work(BASE, BlockSpec(0, 0, 0, 64))[1]
    assert on_a_step == pytest.approx(0, abs=0.1 * step)
    assert over_the_edge == pytest.approx(step, rel=0.1)


def test_the_interval_covers_what_it_promises(launched: ProfileResult) -> None:
    prediction = launched.predictor.predict(UNSEEN)
    expected = truth(LAUNCHED) * np.exp(0.003 * np.random.default_rng(5).standard_normal(len(UNSEEN)))
    inside = np.mean((prediction.lower <= expected) & (expected <= prediction.upper))
    assert inside >= 0.82
    assert np.mean((prediction.upper - prediction.lower) / prediction.value) < 0.06


def test_interpolated_rows_have_wider_intervals(additive: ProfileResult) -> None:
    predictor = additive.predictor
    few = [row for row in predictor.rows if row.key.kind == "stem" or row.key.block.mlp_width in (0, 8, 512)]
    poor = LatencyPredictor(few, subject=predictor.subject)
    archs, values = zip(*predictor.models, strict=True)
    poor.fit(archs, values)
    at_row = dataclasses.replace(BASE, blocks=(BlockSpec(0, 0, 0, 512),) * 6)
    between = dataclasses.replace(BASE, blocks=(BlockSpec(0, 0, 0, 256),) * 6)
    widths = [np.ptp([p.lower[0], p.upper[0]]) / p.value[0] for p in (poor.predict([at_row]), poor.predict([between]))]
    assert widths[1] > widths[0]


def test_a_kind_of_row_that_is_missing_is_named_with_its_command(additive: ProfileResult) -> None:
    other = dataclasses.replace(BASE, act="relu")
    with pytest.raises(NuwaError, match="no row like: mlp 8 at width 128") as caught:
        additive.predictor.predict([other])
    assert caught.value.hint == "nuwa profile formula"
    with pytest.raises(NuwaError, match="stem of width"):
        additive.predictor.predict([dataclasses.replace(BASE, global_pool="avg")])


def test_a_predictor_survives_json_and_its_id_pins_its_content(launched: ProfileResult) -> None:
    predictor = launched.predictor
    back = LatencyPredictor.from_dict(json.loads(json.dumps(predictor.to_dict())))
    assert back.predictor_id == predictor.predictor_id
    first, second = predictor.predict(UNSEEN), back.predict(UNSEEN)
    np.testing.assert_array_equal(first.value, second.value)
    np.testing.assert_array_equal(first.upper, second.upper)
    shifted = predictor.corrected(UNSEEN[0], 1.0)
    assert shifted.predictor_id != predictor.predictor_id
    again = LatencyPredictor.from_dict(json.loads(json.dumps(shifted.to_dict())))
    np.testing.assert_allclose(again.predict(UNSEEN).value, shifted.predict(UNSEEN).value)


@pytest.mark.parametrize("content", [{}, {"schema": "nuwa.latency-predictor/1"}])
def test_other_content_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(NuwaError, match="not a latency predictor"):
        LatencyPredictor.from_dict(content)


def test_a_measured_miss_shifts_its_neighbours_and_nothing_far_away(launched: ProfileResult) -> None:
    predictor = launched.predictor
    deep = max(UNSEEN, key=lambda arch: LAUNCHED.latency(arch))
    small = min(UNSEEN, key=lambda arch: LAUNCHED.latency(arch))
    before = predictor.predict([deep, small]).value
    after = predictor.corrected(deep, 1.1 * before[0]).predict([deep, small]).value
    assert after[0] == pytest.approx(1.1 * before[0], rel=0.005)
    assert after[1] == pytest.approx(before[1], rel=0.005)
    assert predictor.predict([deep]).value[0] == before[0]  # the pinned predictor stays as it was


def test_too_few_nets_and_no_fit_are_said(additive: ProfileResult) -> None:
    fresh = LatencyPredictor(additive.predictor.rows, subject=additive.predictor.subject)
    with pytest.raises(NuwaError, match=f"at least {MIN_MODELS}"):
        fresh.fit(UNSEEN[:3], [1.0, 2.0, 3.0])
    with pytest.raises(NuwaError, match="was not fitted"):
        fresh.predict(UNSEEN[:1])
    with pytest.raises(NuwaError, match="positive"):
        fresh.fit(UNSEEN[:MIN_MODELS], [0.0] * MIN_MODELS)


def test_predicting_is_quick(launched: ProfileResult) -> None:
    batches = iter([sample_archs(BASE, np.random.default_rng(seed), 1000) for seed in (3, 4, 5)])
    assert least_seconds(lambda: launched.predictor.predict(next(batches)), runs=3) / 1000 < 50e-6


def test_no_nets_give_no_predictions(additive: ProfileResult) -> None:
    assert additive.predictor.predict([]).value.shape == (0,)


def test_a_profile_goes_on_where_it_was_killed() -> None:
    notebook = MemoryNotebook()

    class Dying(ClosedFormDevice):
        def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
            if len(self.measured) == 100:
                raise OutsideError("the board is gone")
            return super().measure(model, protocol=protocol)

    with pytest.raises(OutsideError):
        profile(Dying(FED_IN_TIME), BASE, export=export, notebook=notebook, settings=SETTINGS)
    kept = len(notebook.rows())
    assert kept > 30
    result = profile(ClosedFormDevice(FED_IN_TIME), BASE, export=export, notebook=notebook, settings=SETTINGS)
    assert result.rows_added == len(notebook.rows()) - kept
    again = profile(ClosedFormDevice(FED_IN_TIME), BASE, export=export, notebook=notebook, settings=SETTINGS)
    assert again.rows_added == 0
    assert again.predictor.predictor_id == result.predictor.predictor_id


def test_the_time_given_is_kept_and_gives_a_predictor_all_the_same() -> None:
    settings = ProfileSettings(num_fit=24, num_heldout=8, repeats=1, minutes=1e-6)
    result = profile(ClosedFormDevice(FED_IN_TIME), BASE, export=export, settings=settings)
    assert result.models_measured == MIN_MODELS
    assert len(result.predictor.rows) < 20
    assert errors_of(result.predictor.predict(UNSEEN).value, truth(FED_IN_TIME)).mape < 0.15


def test_cut_embeddings_are_predicted_from_their_own_rows() -> None:
    settings = ProfileSettings(num_fit=24, num_heldout=8, repeats=1, embed_dims=(64, 96), max_rows=64)
    result = profile(ClosedFormDevice(FED_IN_TIME), BASE, export=export, settings=settings)
    archs = sample_archs(BASE, np.random.default_rng(8), 200, embed_dims=(64, 96))
    assert {arch.embed_dim for arch in archs} == {64, 96, 128}
    assert errors_of(result.predictor.predict(archs).value, truth(FED_IN_TIME, archs)).mape < 0.01


def test_report_cards_refuse_nets_that_were_fitted(launched: ProfileResult) -> None:
    arch, ms = launched.predictor.models[0]
    with pytest.raises(NuwaError, match="fitted to"):
        report_card(launched.predictor, [arch], np.array([ms]))


@pytest.mark.parametrize("reference_sd", [0.0, 0.002, 0.01])
def test_coverage_allows_for_the_error_of_the_measured_figures(reference_sd: float) -> None:
    rng, sd, z = np.random.default_rng(0), 0.003, 1.645
    value = rng.uniform(1, 9, 20_000)
    truth = value * (1 + sd * rng.standard_normal(len(value)))
    measured = truth * (1 + reference_sd * rng.standard_normal(len(value)))
    prediction = Prediction(value, value * (1 - z * sd), value * (1 + z * sd))
    assert coverage_of(prediction, measured, slack=z * reference_sd) == pytest.approx(0.9, abs=0.01)
    if reference_sd > sd:
        assert coverage_of(prediction, measured) < 0.5


def test_report_of_a_profile_beats_both_baselines(launched: ProfileResult) -> None:
    report = launched.report.to_json()
    assert report["num_heldout"] == SETTINGS.num_heldout
    assert report["mape"] < report["baselines"]["operators"]["mape"] < report["baselines"]["macs"]["mape"]
    assert 0 < report["noise_floor_mape"] < 0.01
    assert subject_of(ClosedFormDevice(LAUNCHED).spec).device_name == "formula"


class TestLatencyPredictor(PredictorContract):
    @pytest.fixture
    def predictor(self, additive: ProfileResult) -> Predictor:
        known = additive.predictor
        return LatencyPredictor(known.rows, subject=known.subject)

    @pytest.fixture
    def rows(self) -> Rows:
        archs = UNSEEN[: 2 * MIN_MODELS]
        return archs, [FED_IN_TIME.latency(arch) for arch in archs]
