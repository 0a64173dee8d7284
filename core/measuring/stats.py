"""Statistics of counted inferences."""

import numpy as np
import numpy.typing as npt

from nuwa_search.core.device import LatencyStats
from nuwa_search.core.errors import NuwaError

Array = npt.NDArray[np.float64]

# Above this spread a median of a few hundred inferences is no longer good to 1 %.
MAX_CV = 0.025


def stats_from_samples(samples_ms: Array) -> LatencyStats:
    """Summarise inferences in milliseconds, (n,) with n >= 1.

    Raises:
        NuwaError: If there is no sample, or one is not a positive number.
    """
    if not len(samples_ms) or not np.all(np.isfinite(samples_ms) & (samples_ms > 0)):
        raise NuwaError("a latency needs at least one counted inference, each of a positive number of milliseconds")
    p50, p90, p95, p99 = (float(v) for v in np.percentile(samples_ms, (50, 90, 95, 99)))
    mean = float(samples_ms.mean())
    return LatencyStats(
        median=p50,
        mean=mean,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        min=float(samples_ms.min()),
        max=float(samples_ms.max()),
        cv=float(samples_ms.std()) / mean,
    )


def spread_warnings(stats: LatencyStats) -> tuple[str, ...]:
    """Warn of a spread that makes the figure doubtful; empty where all is well."""
    if stats.cv <= MAX_CV:
        return ()
    return (
        f"inferences spread by {stats.cv:.1%} (cv), more than {MAX_CV:.1%}: close other programs or pin the clocks",
    )
