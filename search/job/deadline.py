"""How much of a search's time is left."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """When something must be over.

    Args:
        ends: On the monotonic clock; None for never.
    """

    ends: float | None = None

    def left_s(self) -> float | None:
        """Seconds that are left, at least 0; None where there is no end."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())

    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s() == 0.0

    def part(self, share: float) -> "Deadline":
        """End after this share of what is left."""
        left = self.left_s()
        return self if left is None else deadline_in(share * left)


def deadline_in(seconds: float | None) -> Deadline:
    """End so many seconds from now; None never ends."""
    return Deadline(None if seconds is None else time.monotonic() + seconds)
