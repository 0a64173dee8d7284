"""The accuracy predictor: KL of a subnet to the task teacher from a library and whole-subnet scores."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import stats

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.accuracy.changes import ChangeModel
from nuwa_search.predictors.accuracy.features import KL_FLOOR, Featuriser, Floats, directions, gaps, summaries
from nuwa_search.predictors.accuracy.gaussian import GaussianFit, KernelInputs, fit_gaussian
from nuwa_search.predictors.accuracy.prior import AdditivePrior
from nuwa_search.predictors.contract import Prediction

PRIOR_SD = 1.0
"""Standard deviation of log KL around the additive sum before any subnet is scored: a factor of e."""

MIN_CALIBRATION = 10
"""Rows from which leave-one-out residuals widen or narrow the interval."""

SUMMARY_SPREADS = (0.3, 0.3, 0.3, 0.3)
GAP_SPREADS = (1.5, 1.5, 1.0, 5.0)
ROOT_SPREAD = 0.02
"""Least standard deviation that features are divided by. Late in a study all subnets are alike; small differences
blown up to unit size would make the linear kernel promise the moon a few cuts away."""

CEILING = 1.2
"""Times the log of the number of classes: the KL above which subnets are taken as equally bad when fitting. A net that
knows nothing is at about one; how much worse another is says nothing about good ones. On 459 scored subnets of the
default base (five classes, 40 to 160 fitted) τ below one rose by 0.01 to 0.02."""

BRANCH_WEIGHT = 0.5
"""Weight of all branches together against the summaries: many columns, most of them idle in any one subnet. Chosen
among 0, 0.5, 1 and 2 by cross-validation on 80 random subnets of the default base."""


class KLPredictor:
    """Library prior plus a Gaussian process on log KL; implements ``nuwa_search.predictors.contract.Predictor``.

    The mean is the log of the additive sum of the library's KLs; the process models what the sum misses. If
    branch i moves the logits by d_i, the KL is about half |Σ d_i|², so its ratio to the additive sum is uᵀAu with u
    the unit vector of the branches' √KL and A their unknown cosines: that is the pair kernel. A squared-exponential
    and a linear kernel over the branches, their summaries and the gaps take what is left.

    Args:
        prior: Costs of single replacements.
        coverage: Nominal coverage of the interval, a fraction.
        changes: Predicts whole nets from changed logits; the mean is then the log of its KL in place of the sum of KLs,
            which cannot tell cuts that add up from cuts that cancel. None where only KLs were kept.
    """

    def __init__(self, prior: AdditivePrior, *, coverage: float = 0.9, changes: ChangeModel | None = None) -> None:
        if not 0 < coverage < 1:
            raise NuwaError(f"an interval needs a coverage between 0 and 1, found {coverage}")
        self._prior = prior
        self._changes = changes
        self._featuriser = Featuriser(prior)
        self._coverage = coverage
        self._fit: GaussianFit | None = None
        self._shift: Floats = np.zeros(0)
        self._spread: Floats = np.ones(0)
        self._widening = 1.0

    @property
    def coverage(self) -> float:
        return self._coverage

    @property
    def _ceiling(self) -> float:
        return float(CEILING * np.log(max(2, self._prior.base.num_classes)))

    @property
    def prior(self) -> AdditivePrior:
        return self._prior

    def fit(self, archs: Sequence[Arch], values: Sequence[float]) -> Self:
        """Fit to whole-subnet KLs in nats, forgetting earlier ones.

        Raises:
            NuwaError: If there is no row, or a value is negative or not finite.
        """
        kls = np.asarray(values, dtype=np.float64)
        if len(archs) == 0 or len(archs) != len(kls):
            raise NuwaError(f"the accuracy predictor needs as many scores as archs, found {len(kls)} and {len(archs)}")
        if not np.isfinite(kls).all() or (kls < -KL_FLOOR / 2).any():
            raise NuwaError("the accuracy predictor needs finite KLs >= 0")
        roots = self._featuriser.branch_roots(archs)
        features = self._features(archs, roots)
        self._shift = features.mean(axis=0)
        floors = np.repeat((*SUMMARY_SPREADS, *GAP_SPREADS, ROOT_SPREAD), (1,) * 8 + (roots.shape[1],))
        self._spread = np.maximum(features.std(axis=0), floors)
        clipped = np.clip(kls, 0.0, self._ceiling)
        targets = np.log(clipped + KL_FLOOR) - self._mean(archs, roots)
        self._fit = fit_gaussian(self._inputs(features, roots), targets, prior_scale=PRIOR_SD**2)
        self._widening = 1.0
        if len(archs) >= MIN_CALIBRATION:
            nominal = float(stats.norm.ppf(0.5 + self._coverage / 2))
            self._widening = float(np.quantile(np.abs(self._fit.loo_ratio), self._coverage)) / nominal
        return self

    def predict(self, archs: Sequence[Arch]) -> Prediction:
        """Predict KL in nats with its interval; before ``fit`` from the library alone.

        Once fitted, an interval that reaches the ceiling has no upper end: nothing is known of what lies above.
        """
        mean, sd = self.predict_log(archs)
        z = float(stats.norm.ppf(0.5 + self._coverage / 2))

        def back(log_kl: Floats) -> Floats:
            return np.maximum(np.exp(np.minimum(log_kl, 50.0)) - KL_FLOOR, 0.0)

        upper = back(mean + z * sd)
        if self._fit is not None:
            upper = np.where(upper >= self._ceiling, np.inf, upper)
        return Prediction(value=back(mean), lower=back(mean - z * sd), upper=upper)

    def predict_log(self, archs: Sequence[Arch]) -> tuple[Floats, Floats]:
        """Predict mean and standard deviation of log(KL + floor): two (num_archs,)."""
        roots = self._featuriser.branch_roots(archs)
        mean = self._mean(archs, roots)
        if self._fit is None:
            return mean, np.full(len(mean), PRIOR_SD)
        residual, sd = self._fit.predict(self._inputs(self._features(archs, roots), roots))
        return mean + residual, sd * self._widening

    def _mean(self, archs: Sequence[Arch], roots: Floats) -> Floats:
        """Log KL before any whole net is known: (num_archs,)."""
        if self._changes is None:
            return np.asarray(summaries(roots)[:, 0])
        return np.asarray(np.log(np.minimum(self._changes.kl(archs), self._ceiling) + KL_FLOOR))

    def _features(self, archs: Sequence[Arch], roots: Floats) -> Floats:
        return np.hstack([summaries(roots), gaps(archs), roots])

    def _inputs(self, features: Floats, roots: Floats) -> KernelInputs:
        scaled = (features - self._shift) / self._spread
        num_summaries = features.shape[1] - roots.shape[1]
        scaled[:, num_summaries:] *= BRANCH_WEIGHT * np.sqrt(num_summaries / roots.shape[1])
        return KernelInputs(scaled, directions(roots))
