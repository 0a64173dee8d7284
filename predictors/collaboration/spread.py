"""Times that vary, by their median and 95th percentile, and quantiles of what is made of several of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from nuwa_search.core.errors import NuwaError

_NORMAL = NormalDist()
_Z95 = _NORMAL.inv_cdf(0.95)
_CLOSE = 1e-7
"""Share of a quantile that a bisection ends within."""
_MEAN_POINTS = 400
"""Steps of the sum that is taken for a mean, between times that all but a millionth of the images are within."""
_RARE = 1e-6


@dataclass(frozen=True)
class Spread:
    """A time with a long tail to the right: log-normal, or fixed where both figures are alike.

    Args:
        p50_ms: Median in milliseconds.
        p95_ms: 95th percentile in milliseconds.
    """

    p50_ms: float
    p95_ms: float

    def __post_init__(self) -> None:
        if not 0 <= self.p50_ms <= self.p95_ms < math.inf:
            raise NuwaError(f"a time needs 0 <= p50 <= p95, found {self.p50_ms:g} and {self.p95_ms:g} ms")

    @property
    def is_fixed(self) -> bool:
        return self.p95_ms == self.p50_ms or self.p50_ms == 0

    def share_done(self, ms: float) -> float:
        """Share of the times that are at most ``ms``."""
        if self.is_fixed:
            return float(ms >= self.p95_ms)
        if ms <= 0:
            return 0.0
        return _NORMAL.cdf(math.log(ms / self.p50_ms) / self._sigma)

    @property
    def mean_ms(self) -> float:
        """Mean of the times."""
        return self.p50_ms if self.is_fixed else self.p50_ms * math.exp(self._sigma**2 / 2)

    def then(self, other: "Spread") -> "Spread":
        """One time after the other, independent: medians add, and the tails' lengths as squares."""
        p50_ms = self.p50_ms + other.p50_ms
        tail_ms = math.hypot(self.p95_ms - self.p50_ms, other.p95_ms - other.p50_ms)
        return Spread(p50_ms, p50_ms + tail_ms)

    @property
    def _sigma(self) -> float:
        return math.log(self.p95_ms / self.p50_ms) / _Z95


ShareDone = Callable[[float], float]
"""Share of the images that are answered within so many milliseconds."""


def all_of(spreads: Sequence[Spread]) -> ShareDone:
    """The last of several independent times."""
    return lambda ms: math.prod(one.share_done(ms) for one in spreads)


def any_of(spreads: Sequence[Spread], count: int) -> ShareDone:
    """The ``count``-th of several independent times."""

    def share(ms: float) -> float:
        chances = [1.0]  # of 0, 1, … that are done
        for one in spreads:
            p = one.share_done(ms)
            longer = [*chances, 0.0]
            chances = [longer[k] * (1 - p) + (longer[k - 1] * p if k else 0.0) for k in range(len(longer))]
        return sum(chances[count:])

    return share


def mixture(parts: Sequence[tuple[float, ShareDone]]) -> ShareDone:
    """A time that is one of several, each with its share of the images."""
    return lambda ms: math.fsum(share * done(ms) for share, done in parts)


def quantile_ms(done: ShareDone, share: float, *, most_ms: float) -> float:
    """Find the time within which ``share`` of the images are answered, by bisection up to ``most_ms``."""
    low, high = 0.0, most_ms
    while done(high) < share:
        high *= 2
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if done(middle) >= share else (middle, high)
    return high


def mean_ms(done: ShareDone, *, most_ms: float) -> float:
    """Mean time: the least, and the share still waited for summed over the time after it."""
    low, high = (quantile_ms(done, share, most_ms=most_ms) for share in (_RARE, 1 - _RARE))
    step = (high - low) / _MEAN_POINTS
    return low + step * math.fsum(1 - done(low + (k + 0.5) * step) for k in range(_MEAN_POINTS))
