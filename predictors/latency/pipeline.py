"""Whole-net latency from times of branches: the device works on one while the next is launched.

A two-stage flow shop (Johnson 1954): launching in order, working in order, and the net is done after

    max over j of (launches of branches up to j + work of branches from j on).

So blocks do not simply add up: launches hide behind earlier work, and only the tail of a net that
waits for launches shows its work. On a device that is fed in time there are no launches, and the
maximum is the sum of the work. The few coefficients (how sums differ from rows, what the ends of
the net add to either stage) are fitted to whole nets; each has a prior, so few nets suffice.
"""

from dataclasses import asdict, dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from nuwa_search.predictors.latency.encode import Encoded

Array = npt.NDArray[np.float64]

# Prior means and standard deviations. Rows are known to a few per cent; the ends of the net (patch
# embedding before the blocks, norm and head after them) split the stem's latency in unknown shares.
_PRIORS: dict[str, tuple[float, float]] = {
    "work_attn": (1.0, 0.03),
    "work_mlp": (1.0, 0.03),
    "whole": (0.0, 0.03),
    "front_work": (0.5, 0.3),
    "back_work": (0.5, 0.3),
    "launch_attn": (1.0, 0.03),
    "launch_mlp": (1.0, 0.03),
    "front_launch": (0.5, 0.3),
    "back_launch": (0.5, 0.3),
}
# How far one net's latency is believed when weighed against the priors: from boards that repeat to half
# a per cent to shared machines that repeat to ten. Leave-one-out error chooses.
BELIEFS = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Pipeline:
    """Fitted coefficients.

    Args:
        work_attn: Factor on the work of attention branches.
        work_mlp: Factor on the work of MLP branches.
        whole: What a block with both branches adds to its MLP's work, relative.
        front_work: Work before the first block, as a share of the stem's latency.
        back_work: Work after the last block, as a share of the stem's latency.
        launch_attn: Factor on the launches of attention branches.
        launch_mlp: Factor on the launches of MLP branches.
        front_launch: Launches before the first block, as a share of the stem's latency.
        back_launch: Launches after the last block, as a share of the stem's latency.
    """

    work_attn: float = 1.0
    work_mlp: float = 1.0
    whole: float = 0.0
    front_work: float = 0.5
    back_work: float = 0.5
    launch_attn: float = 1.0
    launch_mlp: float = 1.0
    front_launch: float = 0.5
    back_launch: float = 0.5

    def stages(self, encoded: Encoded) -> tuple[Array, Array]:
        """Return work and launches of the front, every branch and the back, (num_archs, columns + 2) each."""
        is_whole = encoded.is_there[:, 0::2] & encoded.is_there[:, 1::2]
        work = encoded.work.copy()
        work[:, 0::2] *= self.work_attn
        work[:, 1::2] *= self.work_mlp + self.whole * is_whole
        launch = encoded.launch.copy()
        launch[:, 0::2] *= self.launch_attn
        launch[:, 1::2] *= self.launch_mlp
        has_launch = np.any(encoded.launch > 0)
        stem = encoded.stem[:, None]
        ends = stem * float(has_launch)
        return (
            np.concatenate([self.front_work * stem, work, self.back_work * stem], axis=1),
            np.concatenate([self.front_launch * ends, launch, self.back_launch * ends], axis=1),
        )

    def latency(self, encoded: Encoded) -> Array:
        """Predict milliseconds, (num_archs,)."""
        work, launch = self.stages(encoded)
        before = np.cumsum(launch, axis=1) - launch
        after = np.cumsum(work[:, ::-1], axis=1)[:, ::-1] - work
        return np.asarray((before + np.maximum(work, launch) + after).max(axis=1), dtype=np.float64)

    def to_dict(self) -> dict[str, float]:
        """Return the coefficients as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, float]) -> Self:
        """Read ``to_dict``'s form back."""
        return cls(**{f.name: float(values[f.name]) for f in fields(cls)})


def fit_pipeline(encoded: Encoded, latencies_ms: Array, *, belief: float) -> Pipeline:
    """Fit the coefficients to whole nets by least squares on relative errors, with the priors.

    Args:
        encoded: Branch times of n nets.
        latencies_ms: (n,) measured.
        belief: Relative standard deviation of a net's latency around the model; see ``BELIEFS``.
    """
    has_launch = bool(np.any(encoded.launch > 0))
    names = [name for name in _PRIORS if has_launch or "launch" not in name]
    means = np.array([_PRIORS[name][0] for name in names])
    sds = np.array([_PRIORS[name][1] for name in names])

    def residuals(theta: Array) -> Array:
        model = Pipeline(**dict(zip(names, theta.tolist(), strict=True)))
        errors = (model.latency(encoded) / latencies_ms - 1) / belief
        return np.concatenate([errors, (theta - means) / sds])

    found = least_squares(residuals, means, method="lm")
    return Pipeline(**dict(zip(names, found.x.tolist(), strict=True)))
