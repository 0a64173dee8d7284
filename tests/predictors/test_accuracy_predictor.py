import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.accuracy import KLPredictor, cross_validate, flat_prior, prior_from_library, report_card
from nuwa_search.predictors.accuracy.gaussian import KernelInputs, fit_gaussian
from nuwa_search.predictors.accuracy.predictor import CEILING
from nuwa_search.predictors.accuracy.prior import AdditivePrior
from nuwa_search.predictors.accuracy.report import AccuracyReport
from nuwa_search.predictors.contract import Predictor
from nuwa_search.testing.predictor import PredictorContract, Rows
from tests.support.least_seconds import least_seconds

FULL = BlockSpec(2, 16, 16, 64)
BASE = Arch(blocks=(FULL,) * 6, embed_dim=32, num_classes=5, img_size=16, patch_size=8)
OPTIONS = [
    FULL,
    BlockSpec(0, 0, 0, 64),
    BlockSpec(2, 16, 16, 0),
    BlockSpec(0, 0, 0, 0),
    BlockSpec(2, 16, 16, 32),
    BlockSpec(1, 16, 16, 64),
]


def disturbance(i: int, spec: BlockSpec) -> npt.NDArray[np.float64]:
    """Two numbers per block: how far a cut moves the logits in two directions, some against each other."""
    rng = np.random.default_rng(1000 * i + 7)
    attn, mlp = rng.normal(size=(2, 3)) * (0.35, 0.2, 0.3)
    moved: npt.NDArray[np.float64] = attn * (1 - spec.num_heads / 2) + mlp * (1 - spec.mlp_width / 64) ** 1.5
    return moved


def true_kl(arch: Arch) -> float:
    """Quadratic in the sum of disturbances: aligned cuts cost more than they add up to, opposed ones less."""
    moved = np.sum([disturbance(i, spec) for i, spec in enumerate(arch.blocks)], axis=0)
    return float((moved**2).sum()) / 2


def random_archs(count: int, seed: int) -> list[Arch]:
    rng = np.random.default_rng(seed)
    return [
        dataclasses.replace(BASE, blocks=tuple(OPTIONS[k] for k in rng.integers(0, len(OPTIONS), 6)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def prior() -> AdditivePrior:
    rows = [
        dataclasses.replace(BASE, blocks=(*BASE.blocks[:i], spec, *BASE.blocks[i + 1 :]))
        for i in range(6)
        for spec in OPTIONS[1:]
    ]
    return prior_from_library(BASE, rows, [true_kl(a) for a in rows])


@pytest.fixture(scope="module")
def reports(prior: AdditivePrior) -> list[AccuracyReport]:
    held = random_archs(150, seed=1)
    truth = [true_kl(a) for a in held]
    cards = []
    for count in (0, 15, 60, 200):
        predictor = KLPredictor(prior)
        if count:
            seen = random_archs(count, seed=2)
            predictor.fit(seen, [true_kl(a) for a in seen])
        cards.append(report_card(predictor, held, truth, num_fitted=count))
    return cards


def test_more_scored_subnets_order_better(reports: list[AccuracyReport]) -> None:
    taus = [card.kendall_tau for card in reports]
    assert taus[-1] > 0.8
    assert taus[-1] > taus[0] + 0.1
    assert taus[2] > taus[0]
    assert reports[-1].median_log_error < reports[0].median_log_error / 2
    assert reports[-1].spearman > reports[-1].kendall_tau


def test_intervals_cover_about_what_they_promise(reports: list[AccuracyReport]) -> None:
    for card in reports[2:]:
        assert 0.75 <= card.interval_coverage <= 1.0
        assert card.nominal_coverage == 0.9


def test_predictions_lie_inside_their_interval(prior: AdditivePrior) -> None:
    seen = random_archs(40, seed=2)
    guess = KLPredictor(prior).fit(seen, [true_kl(a) for a in seen]).predict(random_archs(50, seed=3))
    assert (guess.lower <= guess.value).all()
    assert (guess.value <= guess.upper).all()
    assert (guess.lower >= 0).all()


def test_a_fit_forgets_earlier_ones_and_repeats_itself(prior: AdditivePrior) -> None:
    seen, other = random_archs(30, seed=2), random_archs(30, seed=5)
    once = KLPredictor(prior).fit(seen, [true_kl(a) for a in seen])
    twice = KLPredictor(prior).fit(other, [true_kl(a) for a in other]).fit(seen, [true_kl(a) for a in seen])
    probe = random_archs(20, seed=6)
    assert np.array_equal(once.predict(probe).value, twice.predict(probe).value)


def test_one_row_is_enough(prior: AdditivePrior) -> None:
    arch = random_archs(1, seed=2)
    guess = KLPredictor(prior).fit(arch, [0.5]).predict(random_archs(5, seed=3))
    assert np.isfinite(guess.value).all()


def test_predicting_is_quick(prior: AdditivePrior) -> None:
    seen = random_archs(200, seed=2)
    predictor = KLPredictor(prior).fit(seen, [true_kl(a) for a in seen])
    probe = random_archs(1000, seed=3)
    assert least_seconds(lambda: predictor.predict(probe)) / 1000 < 100e-6


@pytest.mark.parametrize("values", [[float("nan")], [-0.5], []])
def test_impossible_scores_are_refused(prior: AdditivePrior, values: list[float]) -> None:
    with pytest.raises(NuwaError):
        KLPredictor(prior).fit(random_archs(1, seed=2), values)


def test_cross_validation_judges_every_row_once(prior: AdditivePrior) -> None:
    seen = random_archs(50, seed=2)
    card = cross_validate(KLPredictor(prior), seen, [true_kl(a) for a in seen])
    assert card.num_heldout == 50
    assert card.num_fitted == 40
    with pytest.raises(NuwaError, match="5 folds need"):
        cross_validate(KLPredictor(prior), seen[:5], [0.1] * 5)


def test_leave_one_out_residuals_equal_refits() -> None:
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(12, 3)), rng.normal(size=12)
    fit = fit_gaussian(KernelInputs(rows, rows / np.linalg.norm(rows, axis=1, keepdims=True)), targets, prior_scale=1.0)
    for k in range(12):
        kept = np.arange(12) != k
        gram = np.linalg.inv(fit.inverse)
        cross = gram[k, kept]
        inside = np.linalg.inv(gram[np.ix_(kept, kept)])
        mean = cross @ inside @ targets[kept]
        sd = np.sqrt(fit.scale * (gram[k, k] - cross @ inside @ cross))
        assert (targets[k] - mean) / sd == pytest.approx(fit.loo_ratio[k])


def test_nets_that_know_nothing_count_as_equally_bad_and_have_no_upper_end() -> None:
    base = Arch(blocks=(BlockSpec(2, 8, 8, 32),) * 3, embed_dim=16, num_classes=5, img_size=8, patch_size=4)
    prior = flat_prior(base)
    archs = [
        dataclasses.replace(base, blocks=(BlockSpec(2, 8, 8, 32), *(BlockSpec(h, 8 * (h > 0), 8 * (h > 0), w),) * 2))
        for h in (0, 1, 2)
        for w in (0, 8, 16, 24)
    ]
    kls = np.linspace(9.0, 0.01, len(archs))
    ceiling = CEILING * np.log(5)
    beyond = np.minimum(kls, 1.5 * ceiling)  # other values, but only above the ceiling
    ours, other = (KLPredictor(prior).fit(archs, values.tolist()).predict(archs) for values in (kls, beyond))
    assert np.array_equal(ours.value, other.value)
    assert np.isinf(ours.upper[0])
    assert np.isfinite(ours.upper[-1])
    assert (kls >= ours.lower).mean() >= 0.9


class TestKLPredictor(PredictorContract):
    @pytest.fixture
    def predictor(self, prior: AdditivePrior) -> Predictor:
        return KLPredictor(prior)

    @pytest.fixture
    def rows(self) -> Rows:
        archs = random_archs(30, seed=9)
        return archs, [true_kl(arch) for arch in archs]
