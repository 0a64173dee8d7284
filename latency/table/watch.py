"""How a long run of measurements is watched, and when it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

Progress = Callable[[str, int, int | None], None]
"""Takes what is measured, steps done, and steps in all, None where the total is unknown."""


@dataclass(frozen=True)
class Watch:
    """Who is told of a run, and by which clock it ends.

    Args:
        progress: Called with a label, steps done and steps in all (None: not known).
        on_first: See ``ArchTimer``.
        deadline: Value of ``clock`` after which no further step is begun; None for no limit.
        clock: Seconds.
    """

    progress: Progress | None = None
    on_first: Callable[[float], None] | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and self.clock() >= self.deadline

    def until(self, deadline: float | None) -> "Watch":
        """Return the same watch with another deadline."""
        return replace(self, deadline=deadline)

    def tell(self, label: str, done: int, total: int | None) -> None:
        """Report a step, if anybody watches."""
        if self.progress is not None:
            self.progress(label, done, total)
