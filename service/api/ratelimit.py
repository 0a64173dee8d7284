"""A token bucket per client: a burst at once, a steady rate after it."""

import time
from collections import OrderedDict

MAX_CLIENTS = 10_000
"""Buckets that are kept; the one that was used longest ago goes first, and comes back full."""


class RateLimit:
    """Tells whether a client may send one more request.

    Args:
        per_s: Tokens that come back per second.
        burst: Tokens of a full bucket.
    """

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, *, now_s: float | None = None) -> float:
        """Take a token; 0 if there was one, else seconds until there is."""
        now_s = time.monotonic() if now_s is None else now_s
        left, then_s = self._buckets.pop(client, (float(self._burst), now_s))
        left = min(float(self._burst), left + (now_s - then_s) * self._per_s)
        is_allowed = left >= 1
        self._buckets[client] = (left - 1 if is_allowed else left, now_s)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) / self._per_s
