"""Progress on stderr: one live line on a terminal, else at most one plain line every ten seconds."""

import sys
import time
from types import TracebackType

PLAIN_INTERVAL_S = 10.0


class ProgressLine:
    """Shows the newest state of a long step; does nothing when switched off."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._live = enabled and sys.stderr.isatty()
        self._last_s = float("-inf")
        self._width = 0

    def show(self, text: str, *, force: bool = False) -> None:
        """Show ``text`` as the newest state; off a terminal only if ten seconds have passed."""
        if not self._enabled:
            return
        now_s = time.monotonic()
        if self._live:
            print("\r" + text.ljust(self._width)[: max(self._width, len(text))], end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif force or now_s - self._last_s >= PLAIN_INTERVAL_S:
            print(text, file=sys.stderr, flush=True)
            self._last_s = now_s

    def step(self, text: str) -> None:
        """Say that a step is done: stays on the terminal as a line of its own."""
        if not self._enabled:
            return
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Wipe the live line."""
        if self._live and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()


class Pace:
    """Knows how long each step has run, and from that how long it will."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}

    def left(self, label: str, done: int, total: int | None) -> str:
        """Render the time left of a step: ``1 min 20 s left``; empty until it is known."""
        now_s = time.monotonic()
        if done < self._begun.get(label, (now_s, done))[1]:
            del self._begun[label]  # another step of the same name
        begun_s, before = self._begun.setdefault(label, (now_s, done))
        if not total or done <= before:
            return ""
        return time_left((now_s - begun_s) / (done - before) * (total - done))


def time_left(seconds: float | None) -> str:
    """Render seconds left: ``1 min 20 s left``; empty when not known."""
    if seconds is None or seconds < 0:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"
