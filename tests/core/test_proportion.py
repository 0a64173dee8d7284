"""Wilson's interval: published values, its defining equation, and what is no share."""

import math

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.proportion import wilson_interval

Z = 1.959963984540054  # 97.5 % of the normal distribution lie below it


@pytest.mark.parametrize("num", [1, 2, 5, 32, 100, 10_000])
def test_its_ends_are_as_far_from_the_share_as_their_own_spread_says(num: int) -> None:
    """The interval holds the p with |hits/n - p| <= z sqrt(p (1 - p) / n): equality at both ends."""
    for hits in sorted({0, 1, num // 3, num // 2, num - 1, num}):
        low, high = wilson_interval(hits, num)
        assert 0 <= low <= hits / num <= high <= 1
        for end, is_open in ((low, hits == 0), (high, hits == num)):
            if not is_open:
                assert abs(hits / num - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / num), rel=1e-9)


def test_published_values() -> None:
    """Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3."""
    for hits, num, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson_interval(hits, num) == pytest.approx((low, high), abs=6e-5)
    assert wilson_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=6e-5)


def test_nothing_counted_says_nothing_and_what_is_no_share_is_refused() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for hits, num, confidence in ((-1, 3, 0.95), (4, 3, 0.95), (0, -1, 0.95), (1, 2, 1.0), (1, 2, 0.0)):
        with pytest.raises(NuwaError):
            wilson_interval(hits, num, confidence=confidence)
