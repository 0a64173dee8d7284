"""Progress on stderr: one live line on a terminal, else plain lines, five to ten seconds apart and never rarer."""

import sys
import threading
import time
from types import TracebackType

PLAIN_INTERVAL_S = 5.0
"""Least time between two plain lines of one step (contract: at most one every 5 s)."""
SILENCE_S = 10.0
"""After so long without a line, what goes on is said again (contract: never silent for more than 15 s)."""


class ProgressLine:
    """Shows the newest state of a long step; does nothing when switched off.

    Inside ``with`` a thread of its own says what goes on when nothing else was said for ``SILENCE_S``: many steps have
    nothing to count, and on a busy machine one count can take long.

    Args:
        enabled: Whether anything is shown.
        silence_s: Longest time without a line.
    """

    def __init__(self, *, enabled: bool, silence_s: float = SILENCE_S) -> None:
        self._enabled = enabled
        self._live = enabled and sys.stderr.isatty()
        self._silence_s = silence_s
        self._last_s = float("-inf")  # of a state
        self._said_s = time.monotonic()  # of any line
        self._width = 0
        self._stage = "working"
        self._stage_s = time.monotonic()
        self._state = ""
        self._lock = threading.RLock()
        self._over = threading.Event()

    def stage(self, name: str) -> None:
        """Say that a stage begins."""
        with self._lock:
            self._stage, self._stage_s, self._state = name, time.monotonic(), ""
            self._last_s = float("-inf")
            self.step(f"{name}: begins")

    def show(self, text: str, *, force: bool = False) -> None:
        """Show ``text`` as the newest state; off a terminal only if five seconds have passed."""
        if not self._enabled:
            return
        with self._lock:
            self._state = text
            now_s = time.monotonic()
            if self._live:
                self._write_live(text)
            elif force or now_s - self._last_s >= PLAIN_INTERVAL_S:
                self._say(text)
                self._last_s = now_s

    def step(self, text: str) -> None:
        """Say that a step is done: stays on the terminal as a line of its own."""
        if not self._enabled:
            return
        with self._lock:
            self.clear()
            self._say(text)

    def clear(self) -> None:
        """Wipe the live line."""
        with self._lock:
            if self._live and self._width:
                print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
                self._width = 0

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self._said_s = time.monotonic()

    def _write_live(self, text: str) -> None:
        print("\r" + text.ljust(self._width)[: max(self._width, len(text))], end="", file=sys.stderr, flush=True)
        self._width = len(text)
        self._said_s = time.monotonic()

    def _beat(self) -> None:
        """Break every long silence, until the work is over."""
        while not self._over.wait(min(1.0, self._silence_s / 4)):
            with self._lock:
                now_s = time.monotonic()
                if now_s - self._said_s < self._silence_s:
                    continue
                for_s = time_text(now_s - self._stage_s)
                text = "  ".join(filter(None, [f"{self._stage}: going on for {for_s}", self._state]))
                if self._live:
                    self._write_live(text)
                else:
                    self._say(text)

    def __enter__(self) -> "ProgressLine":
        if self._enabled:
            self._said_s = self._stage_s = time.monotonic()
            threading.Thread(target=self._beat, name="progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
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
        if not total or done <= before or done >= total:
            return ""  # what is done has nothing left, and what follows it is another step
        return time_left((now_s - begun_s) / (done - before) * (total - done))


def time_left(seconds: float | None) -> str:
    """Render seconds left: ``1 min 20 s left``, at least a second while it goes on; empty when not known."""
    if seconds is None or seconds < 0:
        return ""
    return f"{time_text(max(1.0, seconds))} left"


def time_text(seconds: float) -> str:
    """Render a length of time: ``1 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
