"""The accuracy predictor's report card on subnets it was not fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.accuracy.features import KL_FLOOR, Floats
from nuwa_search.predictors.accuracy.predictor import KLPredictor
from nuwa_search.predictors.contract import Prediction


@dataclass(frozen=True)
class AccuracyReport:
    """How well predicted KL orders and brackets measured KL.

    Args:
        num_fitted: Subnets the predictor was fitted to.
        num_heldout: Subnets judged on.
        kendall_tau: Rank correlation τ-b; 1 is the same order.
        spearman: Rank correlation ρ.
        interval_coverage: Share of held-out KLs inside their interval.
        nominal_coverage: Share that was promised.
        median_log_error: Median of |log predicted − log measured|.
    """

    num_fitted: int
    num_heldout: int
    kendall_tau: float
    spearman: float
    interval_coverage: float
    nominal_coverage: float
    median_log_error: float


def report_card(
    predictor: KLPredictor, archs: Sequence[Arch], kls: Sequence[float], *, num_fitted: int
) -> AccuracyReport:
    """Compare a fitted predictor's KLs with the measured ones of held-out subnets.

    Args:
        predictor: Fitted predictor.
        archs: Held-out subnets, at least three.
        kls: Their measured KLs in nats.
        num_fitted: Subnets that the predictor was fitted to, for the report.

    Raises:
        NuwaError: If there are fewer than three, with which no rank correlation means anything.
    """
    truth = np.asarray(kls, dtype=np.float64)
    return _compare(predictor.predict(archs), truth, num_fitted=num_fitted, coverage=predictor.coverage)


def cross_validate(
    predictor: KLPredictor, archs: Sequence[Arch], kls: Sequence[float], *, num_folds: int = 5, seed: int = 0
) -> AccuracyReport:
    """Judge fresh predictors with the same library, each fold held out in turn.

    Args:
        predictor: Gives library and nominal coverage; its own fit is neither used nor changed.
        archs: Scored subnets.
        kls: Their measured KLs in nats.
        num_folds: Folds.
        seed: Seed of the shuffle that makes the folds.

    Raises:
        NuwaError: If there are fewer than two subnets per fold.
    """
    n = len(archs)
    if n < 2 * num_folds:
        raise NuwaError(f"{num_folds} folds need at least {2 * num_folds} scored subnets, found {n}")
    fold = np.random.default_rng(seed).permutation(n) % num_folds
    truth = np.asarray(kls, dtype=np.float64)
    value, lower, upper = np.empty(n), np.empty(n), np.empty(n)
    for k in range(num_folds):
        held = fold == k
        fresh = KLPredictor(predictor.prior, coverage=predictor.coverage)
        fresh.fit([a for a, out in zip(archs, held, strict=True) if not out], truth[~held].tolist())
        guess = fresh.predict([a for a, out in zip(archs, held, strict=True) if out])
        value[held], lower[held], upper[held] = guess.value, guess.lower, guess.upper
    pooled = Prediction(value, lower, upper)
    return _compare(pooled, truth, num_fitted=n - n // num_folds, coverage=predictor.coverage)


def _compare(guess: Prediction, truth: Floats, *, num_fitted: int, coverage: float) -> AccuracyReport:
    if len(truth) < 3:
        raise NuwaError(f"a report card needs at least 3 held-out subnets, found {len(truth)}")
    errors = np.abs(np.log(guess.value + KL_FLOOR) - np.log(truth + KL_FLOOR))
    return AccuracyReport(
        num_fitted=num_fitted,
        num_heldout=len(truth),
        kendall_tau=float(stats.kendalltau(guess.value, truth).statistic),
        spearman=float(stats.spearmanr(guess.value, truth).statistic),
        interval_coverage=float(((truth >= guess.lower) & (truth <= guess.upper)).mean()),
        nominal_coverage=coverage,
        median_log_error=float(np.median(errors)),
    )
