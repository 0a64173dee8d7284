"""What every predictor over archs can do: ``fit`` and ``predict`` with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch


@dataclass(frozen=True)
class Prediction:
    """Predicted values for a batch of archs, each (num_archs,) float64.

    Args:
        value: Point prediction: milliseconds for latency, KL divergence in nats for accuracy.
        lower: Lower end of the interval at the predictor's nominal coverage.
        upper: Upper end; a latency budget is held against this one. Infinite where nothing that was fitted bounds it.
    """

    value: npt.NDArray[np.float64]
    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]


class Predictor(Protocol):
    """A model from archs to a number with an interval; fitted on rows of (arch, number).

    Threads: one fits; several may predict then. Ownership: rows are copied, predictions are new arrays. Guarantees:
    ``nuwa_search.testing.predictor``.
    """

    @property
    def coverage(self) -> float:
        """Nominal coverage of the interval, a fraction."""
        ...

    def fit(self, archs: Sequence[Arch], values: Sequence[float]) -> Self:
        """Fit to whole-net values, forgetting earlier ones.

        Raises:
            NuwaError: If there are fewer rows than the model needs.
        """
        ...

    def predict(self, archs: Sequence[Arch]) -> Prediction:
        """Predict a batch; must be quick (at most 50 µs per arch in batches of 1 000)."""
        ...
