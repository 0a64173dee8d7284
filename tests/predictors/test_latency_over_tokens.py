"""Latency over tokens: a few rows at further image sizes, on a device whose latency is a formula."""

import dataclasses

import numpy as np
import pytest

from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, StemKey
from nuwa_search.predictors.fill_table import _SIZED
from nuwa_search.predictors.latency.calibrated import calibrate_like
from nuwa_search.predictors.latency.encode import Scale
from nuwa_search.predictors.latency.predictor import MIN_MODELS, LatencyPredictor, Subject
from nuwa_search.predictors.profile import ProfileResult, ProfileSettings, profile
from nuwa_search.predictors.report_card import errors_of
from nuwa_search.predictors.sample_archs import sample_archs
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

FORMULA = Formula(launch_attn=0.05, launch_mlp=0.03)
SETTINGS = ProfileSettings(num_fit=24, num_heldout=8, repeats=1, max_rows=24, img_sizes=(24, 16))


@pytest.fixture(scope="module")
def found() -> ProfileResult:
    return profile(ClosedFormDevice(FORMULA), BASE, export=export, settings=SETTINGS)


@pytest.mark.parametrize("size", [32, 28, 24, 16])
def test_every_size_is_predicted_and_one_between_by_interpolation(found: ProfileResult, size: int) -> None:
    archs = sample_archs(dataclasses.replace(BASE, img_size=size), np.random.default_rng(7), 60)
    truth = np.array([FORMULA.latency(arch) for arch in archs])
    errors = errors_of(found.predictor.predict(archs).value, truth)
    assert errors.mape < 0.04
    assert errors.spearman is not None
    assert errors.spearman > 0.99


def test_further_sizes_take_few_rows_and_have_a_report_each(found: ProfileResult) -> None:
    def size_of(row: TableRow) -> int:
        key = row.key
        return key.img_size if isinstance(key, StemKey) else 4 * round((key.context.num_tokens - 1) ** 0.5)

    sizes = [size_of(row) for row in found.predictor.rows]
    assert {*sizes} == {32, 24, 16}
    assert max(sizes.count(24), sizes.count(16)) <= 2 * (_SIZED + _SIZED // 2) + 3  # both kinds, some alone, and stems
    assert {size: card.num_heldout for size, card in found.by_size.items()} == {32: 8, 24: 2, 16: 2}


def test_a_predictor_of_several_sizes_is_stored_and_read_back_whole(found: ProfileResult) -> None:
    again = LatencyPredictor.from_dict(found.predictor.to_dict())
    small = sample_archs(dataclasses.replace(BASE, img_size=16), np.random.default_rng(1), 5)
    assert again.predictor_id == found.predictor.predictor_id
    np.testing.assert_array_equal(again.predict(small).value, found.predictor.predict(small).value)


def test_rows_of_another_base_between_the_sizes_change_nothing(found: ProfileResult) -> None:
    """A device's one table may hold rows of 50 tokens, which no size of this base has: they are not joined."""
    rows = found.predictor.rows
    strange = [
        dataclasses.replace(
            row,
            key=dataclasses.replace(row.key, context=dataclasses.replace(row.key.context, num_tokens=51)),
            latency_ms=9.0,
        )
        for row in rows
        if isinstance(row.key, BlockKey) and row.key.context.num_tokens == 65
    ]
    values = found.predictor.to_dict()
    other = LatencyPredictor.from_dict(values)
    other.rows = (*rows, *strange)
    archs = sample_archs(BASE, np.random.default_rng(3), 5)
    np.testing.assert_allclose(other.predict(archs).value, found.predictor.predict(archs).value, rtol=1e-9)


def test_a_transferred_predictor_says_nothing_of_sizes_that_were_not_measured_there(found: ProfileResult) -> None:
    moved = found.predictor.scaled(Scale(work=2.0), subject=Subject("other", "1" * 16, "transferred"))
    archs = sample_archs(BASE, np.random.default_rng(3), 5)
    assert (moved.tokens, moved.smaller) == ((), {})
    assert found.predictor.tokens == (17, 37, 65)
    assert moved.predict(archs).value.min() > found.predictor.predict(archs).value.min()


def test_sizes_that_time_left_too_few_nets_of_are_not_known(found: ProfileResult) -> None:
    models = [(arch, ms) for arch, ms in found.predictor.models]
    models += [pair for part in found.predictor.smaller.values() for pair in part.models]
    few = [pair for pair in models if pair[0].img_size != 16 or pair == models[-1]]
    fitted = LatencyPredictor(found.predictor.rows, subject=found.predictor.subject, tokens=(17, 37, 65))
    fitted.fit([arch for arch, _ in few], [ms for _, ms in few])
    assert fitted.tokens == (37, 65)
    assert {*fitted.smaller} == {37}


def test_a_hurried_profile_measures_what_the_own_size_needs_first() -> None:
    hurried = dataclasses.replace(SETTINGS, minutes=1e-9)
    result = profile(ClosedFormDevice(FORMULA), BASE, export=export, settings=hurried)
    assert len(result.predictor.models) == MIN_MODELS
    assert result.predictor.smaller == {}


def test_a_few_nets_of_another_size_tell_one_factor_where_leaving_out_says_that_it_helps(found: ProfileResult) -> None:
    own, part = found.predictor.calibrated, found.predictor.smaller[17]
    archs = [arch for arch, _ in part.models]
    encoded = part.encode(archs)
    true_ms = np.exp(own.log_latency(encoded))
    shifted = calibrate_like(own, encoded, 1.25 * true_ms, coverage=0.9)
    np.testing.assert_allclose(np.exp(shifted.log_latency(encoded)), 1.25 * true_ms, rtol=1e-9)
    signs = np.where(np.arange(len(archs)) % 2 == 0, 0.05, -0.05)
    scattered = calibrate_like(own, encoded, true_ms * np.exp(signs - signs.mean()), coverage=0.9)
    np.testing.assert_allclose(scattered.log_latency(encoded), own.log_latency(encoded), rtol=1e-12)
    assert shifted.pipeline == scattered.pipeline == own.pipeline
