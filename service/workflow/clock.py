"""Seconds per phase of a job."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class PhaseClock:
    """Adds up wall time by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a block towards ``name``."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._begun

    def part(self, *names: str) -> dict[str, float]:
        """Seconds of the named phases (0 for those that did not run) and the total, rounded to 10 ms."""
        return {name: round(self.seconds.get(name, 0.0), 2) for name in names} | {"total": round(self.total(), 2)}
