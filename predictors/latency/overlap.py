"""Whole-net latency from sums of prices: the device works while the program launches.

A net takes as long as the longer of the two, softly where they are close, so blocks do not simply
add up: in a mix, the launches of one block hide behind the work of another. The few coefficients
(how the sums differ from the rows, what the ends of the net add to either side) are fitted to whole
nets; each has a prior from the rows, so a handful of nets suffices.
"""

from dataclasses import asdict, dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from predictors.latency.encode import Encoded

Array = npt.NDArray[np.float64]

# Sharpness of the soft maximum: 64 is a hard one at the accuracy of any measurement, 4 a wide knee.
SHARPNESS = (4.0, 8.0, 16.0, 64.0)
# Prior means and standard deviations. Sums of rows are known to a few per cent; launches that no row
# showed (the device was slower) only from above; the ends of the net add to both sides by halves.
_PRIORS: dict[str, tuple[float, float]] = {
    "work_attn": (1.0, 0.03),
    "work_mlp": (1.0, 0.03),
    "launch_attn": (1.0, 0.05),
    "launch_mlp": (1.0, 0.05),
    "stem_work": (0.8, 0.3),
    "stem_launch": (0.8, 0.3),
    "whole": (0.0, 0.03),
}
# One net's latency is believed to about this much when weighed against the priors.
_BELIEF = 0.005


@dataclass(frozen=True)
class Overlap:
    """Fitted coefficients.

    Args:
        work_attn: Factor on the work of attention branches.
        work_mlp: Factor on the work of MLP branches.
        launch_attn: Factor on the launches of attention branches.
        launch_mlp: Factor on the launches of MLP branches.
        stem_work: Share of the stem's latency that adds to the work.
        stem_launch: Share of the stem's latency that adds to the launches.
        whole: What a block with both branches adds to its branches' work, relative to an average branch.
        sharpness: Exponent of the soft maximum.
    """

    work_attn: float = 1.0
    work_mlp: float = 1.0
    launch_attn: float = 1.0
    launch_mlp: float = 1.0
    stem_work: float = 1.0
    stem_launch: float = 1.0
    whole: float = 0.0
    sharpness: float = 64.0

    def sides(self, sums: Encoded) -> tuple[Array, Array]:
        """Return work and launches of each net in milliseconds, (num_archs,) each."""
        branches = np.maximum(sums.num_attn + sums.num_mlp, 1.0)
        work = self.work_attn * sums.work_attn + self.work_mlp * sums.work_mlp + self.stem_work * sums.stem
        work = work + self.whole * sums.num_whole * sums.work / branches
        launch = self.launch_attn * sums.launch_attn + self.launch_mlp * sums.launch_mlp
        return work, np.where(sums.launch > 0, launch + self.stem_launch * sums.stem, 0.0)

    def latency(self, sums: Encoded) -> Array:
        """Predict milliseconds, (num_archs,)."""
        work, launch = self.sides(sums)
        longer, shorter = np.maximum(work, launch), np.minimum(work, launch)
        share = np.clip(shorter / np.maximum(longer, 1e-12), 0.0, 1.0)
        soft: Array = longer * (1 + share**self.sharpness) ** (1 / self.sharpness)
        return soft

    def to_dict(self) -> dict[str, float]:
        """Return the coefficients as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, float]) -> Self:
        """Read ``to_dict``'s form back."""
        return cls(**{f.name: float(values[f.name]) for f in fields(cls)})


def fit_overlap(sums: Encoded, latencies_ms: Array, *, sharpness: float | None = None) -> Overlap:
    """Fit the coefficients to whole nets by least squares on relative errors, with the priors.

    Args:
        sums: Of n nets.
        latencies_ms: (n,) measured.
        sharpness: Exponent of the soft maximum; None chooses the best of ``SHARPNESS``.
    """
    has_launches = bool(np.any(sums.launch > 0))
    names = [name for name in _PRIORS if has_launches or "launch" not in name]
    means = np.array([_PRIORS[name][0] for name in names])
    sds = np.array([_PRIORS[name][1] for name in names])
    if not has_launches and "stem_work" in names:
        means[names.index("stem_work")] = 1.0
    candidates = (SHARPNESS if sharpness is None else (sharpness,)) if has_launches else (SHARPNESS[-1],)
    best: tuple[float, Overlap] | None = None
    for exponent in candidates:

        def residuals(theta: Array, exponent: float = exponent) -> Array:
            model = Overlap(**dict(zip(names, theta.tolist(), strict=True)), sharpness=exponent)
            errors = (model.latency(sums) / latencies_ms - 1) / _BELIEF
            return np.concatenate([errors, (theta - means) / sds])

        found = least_squares(residuals, means, method="lm")
        model = Overlap(**dict(zip(names, found.x.tolist(), strict=True)), sharpness=exponent)
        if best is None or found.cost < best[0]:
            best = (float(found.cost), model)
    return best[1] if best is not None else Overlap()
