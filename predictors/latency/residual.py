"""What is left between the sums of the table and whole nets: ridge regression on a few features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nuwa_search.predictors.latency.encode import Encoded

Array = npt.NDArray[np.float64]

# Standard deviations that a coefficient on a standardised feature may have, relative to the noise;
# 0 leaves the residual out. Leave-one-out error chooses.
STRENGTHS = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Residual:
    """A linear correction of the logarithm of the latency.

    Args:
        centre: (f,) means of the features.
        scale: (f,) standard deviations.
        slopes: (f,) coefficients of the standardised features.
        offset: Correction at the centre.
    """

    centre: Array
    scale: Array
    slopes: Array
    offset: float

    def log_ratio(self, features: Array) -> Array:
        """Correct nets with ``features`` (n, f): logarithm of measured over summed, (n,)."""
        z = np.clip((features - self.centre) / self.scale, -3.0, 3.0)  # no extrapolation far outside the fit
        return np.asarray(self.offset + z @ self.slopes, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "slopes": self.slopes.tolist(),
            "offset": self.offset,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read ``to_dict``'s form back."""
        centre, scale, slopes = (np.array(values[name], dtype=np.float64) for name in ("centre", "scale", "slopes"))
        return cls(centre, scale, slopes, float(values["offset"]))


def residual_features(encoded: Encoded, summed_ms: Array, *, work: Array, launch: Array) -> Array:
    """Describe nets by what tables cannot know: size, mix of branches, closeness of work to launches.

    Args:
        encoded: Branch times of n nets.
        summed_ms: (n,) latency of the fitted pipeline in milliseconds.
        work: (n,) work of all branches and both ends, in milliseconds.
        launch: (n,) launches of the same, in milliseconds; 0 on devices that are fed in time.

    Returns:
        (num_archs, 5).
    """
    branches = np.maximum(encoded.num_attn + encoded.num_mlp, 1.0)
    closeness = np.exp(-np.abs(np.log(np.maximum(work, 1e-9) / np.maximum(launch, 1e-9))))
    return np.stack(
        [
            np.log(summed_ms),
            np.log(branches),
            encoded.num_attn / branches,
            encoded.num_whole / branches,
            np.where(launch > 0, closeness, 0.0),
        ],
        axis=1,
    )


def fit_residual(features: Array, log_ratios: Array, *, strength: float) -> Residual:
    """Fit a ridge regression.

    Args:
        features: (n, f).
        log_ratios: (n,) logarithm of measured over summed.
        strength: Prior standard deviation of a coefficient over the noise; 0 for the offset alone.
    """
    centre = features.mean(axis=0)
    scale = np.maximum(features.std(axis=0), 1e-6)
    z = (features - centre) / scale
    offset = float(log_ratios.mean())
    slopes = np.zeros(features.shape[1])
    if strength > 0:
        gram = z.T @ z + np.eye(len(slopes)) / strength**2
        slopes = np.linalg.solve(gram, z.T @ (log_ratios - offset))
    return Residual(centre, scale, slopes, offset)
