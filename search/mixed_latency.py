"""Several devices' latencies as one: their weighted mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.predictors.contract import Prediction, Predictor


@dataclass(frozen=True)
class MixedLatency:
    """Mean of predictors, each times a weight; it is added up like a latency, and no device takes it.

    Args:
        parts: Predictors of milliseconds with their weights.
    """

    parts: tuple[tuple[Predictor, float], ...]

    @property
    def coverage(self) -> float:
        """Nominal coverage of the least sure part."""
        return min(predictor.coverage for predictor, _ in self.parts)

    def fit(self, archs: Sequence[Arch], values: Sequence[float]) -> "MixedLatency":  # noqa: ARG002 - as all predictors
        """Return itself: the parts are fitted, a mean of them is not."""
        return self

    def predict(self, archs: Sequence[Arch]) -> Prediction:
        """Predict the weighted mean, and that of the intervals' ends."""
        found = [(predictor.predict(archs), weight / len(self.parts)) for predictor, weight in self.parts]
        value, lower, upper = (
            np.sum([weight * getattr(part, name) for part, weight in found], axis=0)
            for name in ("value", "lower", "upper")
        )
        return Prediction(value, lower, upper)
