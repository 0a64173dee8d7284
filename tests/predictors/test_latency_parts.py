import itertools
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import kendalltau

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.cost import block_macs, count_macs
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, context_of, stem_of
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.baselines import operator_macs, predict_by_macs, predict_by_operators
from nuwa_search.predictors.latency.conformal import conformal_quantile, noise_share
from nuwa_search.predictors.latency.encode import Encoded
from nuwa_search.predictors.latency.features import attn_work, ceil_to, log_coordinates, mlp_work
from nuwa_search.predictors.latency.interpolate import fit_surface
from nuwa_search.predictors.latency.pipeline import Pipeline
from nuwa_search.predictors.report_card import coverage_of, errors_of, noise_floor
from nuwa_search.predictors.sample_archs import sample_archs
from tests.support.closed_form_device import BASE


def encoded(work: npt.ArrayLike, launch: npt.ArrayLike, stem: npt.ArrayLike) -> Encoded:
    work, launch = np.array(work, dtype=float), np.array(launch, dtype=float)
    return Encoded(work, launch, np.zeros(len(work)), work > 0, np.array(stem, dtype=float))


def finish_time(work: Iterable[float], launch: Iterable[float]) -> float:
    """Simulate: a branch is launched after the one before, and worked off after its launch began."""
    launched = done = 0.0
    for work_ms, launch_ms in zip(work, launch, strict=True):
        begin = launched
        launched += launch_ms
        done = max(max(done, begin) + work_ms, launched)
    return done


def test_the_pipeline_is_the_simulated_flow_shop() -> None:
    rng = np.random.default_rng(0)
    work, launch = rng.uniform(0, 1, (50, 8)), rng.uniform(0, 1, (50, 8))
    model = Pipeline(front_work=0, back_work=0, front_launch=0, back_launch=0)
    expected = [finish_time(*row) for row in zip(work, launch, strict=True)]
    np.testing.assert_allclose(model.latency(encoded(work, launch, np.zeros(50))), expected)


def test_without_launches_the_pipeline_is_the_sum() -> None:
    model = Pipeline(front_work=0.25, back_work=0.75)
    out = model.latency(encoded([[1.0, 2.0, 0.0, 3.0]], np.zeros((1, 4)), [0.5]))
    assert out == pytest.approx([6.5])


def test_pipeline_coefficients_survive_json() -> None:
    model = Pipeline(work_attn=1.1, back_launch=0.2)
    assert Pipeline.from_dict(model.to_dict()) == model


def test_conformal_quantile_by_definition() -> None:
    scores = np.arange(1.0, 20.0)  # 19 scores
    assert conformal_quantile(scores, coverage=0.9) == math.ceil(20 * 0.9)
    assert conformal_quantile(scores[::-1], coverage=0.5) == 10
    assert conformal_quantile(np.array([2.0]), coverage=0.9) == 4.0  # one score guarantees nothing: widened
    with pytest.raises(NuwaError):
        conformal_quantile(np.array([]), coverage=0.9)


def test_conformal_quantile_covers_a_new_score() -> None:
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(4000):
        *seen, new = rng.exponential(size=31)
        hits.append(new <= conformal_quantile(np.array(seen), coverage=0.9))
    assert np.mean(hits) == pytest.approx(28 / 31, abs=0.015)


def test_noise_is_taken_out_by_variances() -> None:
    assert noise_share(0.005, noise_sd=0.003) == pytest.approx(0.8)
    assert noise_share(0.005, noise_sd=0.0) == 1.0
    assert noise_share(0.001, noise_sd=0.003) == 0.65


def test_work_features_count_products() -> None:
    points = np.array([[128.0, 4.0, 8.0, 16.0]])
    n = 65
    macs = block_macs(BlockSpec(4, 8, 16, 0), embed_dim=128, num_tokens=n)
    assert attn_work(points, num_tokens=n)[0, 1:5].sum() == macs
    assert mlp_work(np.array([[128.0, 40.0]]), num_tokens=n)[0, 1:3].sum() == 2 * n * 128 * 40
    assert ceil_to(np.array([1.0, 8.0, 9.0]), 8).tolist() == [8, 8, 16]


def test_a_surface_goes_through_exact_rows_and_doubts_between_them() -> None:
    widths = np.array([8.0, 64, 128, 256, 512])
    points = np.stack([np.full(5, 128.0), widths], axis=1)
    values = 0.01 + 1e-4 * np.ceil(widths / 64)

    def features(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return mlp_work(p, num_tokens=65)

    surface = fit_surface(points, values, 1e-4 * values, features=features, coordinates=log_coordinates)
    found, sd = surface.predict(points)
    np.testing.assert_allclose(found, values, rtol=0.004)
    _, between = surface.predict(np.array([[128.0, 24.0]]))
    assert between[0] > 2 * sd[0]


def test_a_surprising_row_is_named_by_its_miss() -> None:
    widths = np.arange(8.0, 136, 8)
    points = np.stack([np.full(len(widths), 128.0), widths], axis=1)
    values = 0.01 + 1e-4 * widths
    values[7] *= 1.1
    surface = fit_surface(
        points,
        values,
        0.002 * values,
        features=lambda p: mlp_work(p, num_tokens=65)[:, :3],
        coordinates=log_coordinates,
    )
    assert int(np.argmax(surface.misses())) == 7


def test_macs_baseline_is_exact_on_its_own_law() -> None:
    archs = sample_archs(BASE, np.random.default_rng(0), 20)
    fitted = [(arch, 3e-6 * count_macs(arch)) for arch in archs[:10]]
    out = predict_by_macs(archs[10:], fitted=fitted)
    np.testing.assert_allclose(out, [3e-6 * count_macs(arch) for arch in archs[10:]])


def test_operator_baseline_is_exact_on_its_own_law() -> None:
    rates = np.array([0.01, 0, 0.005, 0, 0.02, 0, 1e-6, 2e-6, 3e-6, 1e-6, 1e-6, 0])
    context = context_of(BASE)
    blocks = [BlockSpec(h, q, v, 0) for h, q, v in itertools.product((1, 2, 4), (8, 16, 32), (8, 24))]
    blocks += [BlockSpec(0, 0, 0, w) for w in (8, 64, 256)]
    rows = [TableRow(BlockKey(b, context), float(operator_macs(b, context) @ rates), "measured") for b in blocks]
    rows.append(TableRow(stem_of(BASE), 0.3, "measured"))
    archs = sample_archs(BASE, np.random.default_rng(0), 20)
    expected = [0.3 + sum(float(operator_macs(b, context) @ rates) for b in arch.blocks) for arch in archs]
    np.testing.assert_allclose(predict_by_operators(archs, rows=rows), expected, rtol=1e-3)


def test_errors_by_definition() -> None:
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.04, 2.0, 3.7, 9.0])
    errors = errors_of(predicted, measured)
    assert errors.mape == pytest.approx((0.04 + 0 + 0.075 + 0.125) / 4)
    assert (errors.within_5pct, errors.within_10pct) == (0.5, 0.75)
    assert (errors.spearman, errors.kendall_tau) == (1.0, 1.0)
    mixed = errors_of(predicted[[1, 0, 2, 3]], measured)
    assert mixed.kendall_tau == pytest.approx(kendalltau([2, 1, 3, 4], [1, 2, 3, 4]).statistic)
    assert errors_of(np.ones(1), np.ones(1)).spearman is None
    with pytest.raises(NuwaError):
        errors_of(np.ones(0), np.ones(0))


def test_noise_floor_and_coverage_by_definition() -> None:
    assert noise_floor([(1.0, 1.1, 9.0), (2.0,), (4.0, 4.0)]) == pytest.approx((0.1 / 1.05) / 2)
    assert noise_floor([(1.0,)]) is None
    prediction = Prediction(np.ones(4), np.full(4, 0.9), np.full(4, 1.1))
    assert coverage_of(prediction, np.array([0.8, 0.9, 1.1, 1.2])) == 0.5


def test_samples_fit_in_their_base_and_repeat_with_their_seed() -> None:
    archs = sample_archs(BASE, np.random.default_rng(4), 60)
    assert all(arch.fits_in(BASE) for arch in archs)
    assert len({arch.arch_id for arch in archs} | {BASE.arch_id}) == 61
    assert {arch.depth for arch in archs} >= {2, 3, 4, 5, 6}
    assert archs == sample_archs(BASE, np.random.default_rng(4), 60)


def test_a_space_too_small_is_said() -> None:
    from dataclasses import replace

    tiny = replace(BASE, blocks=(BlockSpec(1, 8, 8, 8),))
    with pytest.raises(NuwaError, match="different subnets"):
        sample_archs(tiny, np.random.default_rng(0), 10)
