"""Progress on stderr: one live line on a terminal, else plain lines, five to ten seconds apart and never rarer."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import click

PLAIN_INTERVAL_S = 5.0
"""Least time between two plain lines of one step (contract: at most one every 5 s)."""
SILENCE_S = 10.0
"""After so long without a line, what goes on is said again (contract: never silent for more than 15 s)."""
LIVE_INTERVAL_S = 0.1
"""Least time between two states on a terminal: people read no faster, and a loop may count thousands a second."""
_META = "nuwa.progress"
"""Where click's context keeps the line of the running command."""


class ProgressLine:
    """Shows the newest state of a long step; does nothing when switched off.

    Inside ``with`` a thread of its own says what goes on when nothing else was said for ``SILENCE_S``: many steps have
    nothing to count, and on a busy machine one count can take long. A time left that was told counts down there.

    Args:
        enabled: Whether anything is shown.
        silence_s: Longest time without a line.
        stage: What goes on until a stage begins.
    """

    def __init__(self, *, enabled: bool, silence_s: float = SILENCE_S, stage: str = "working") -> None:
        self._enabled = enabled
        self._live = enabled and sys.stderr.isatty()
        self._silence_s = silence_s
        self._last_s = time.monotonic()  # of a state: what takes less than five seconds needs none
        self._said_s = time.monotonic()  # of any line
        self._width = 0
        self._stage = stage
        self._stage_s = time.monotonic()
        self._state = ""
        self._ends_s: float | None = None  # when the step is expected to be done
        self._lock = threading.RLock()
        self._pace = Pace()
        self._is_silent = False
        self._over = threading.Event()

    def stage(self, name: str) -> None:
        """Print that a stage begins."""
        with self._lock:
            self._stage, self._stage_s = name, time.monotonic()
            self._set_state("", None)
            self._last_s = self._stage_s
            self.step(f"{name}: begins")

    def show(self, text: str, *, left_s: float | None = None, force: bool = False) -> None:
        """Show ``text`` as the newest state; off a terminal only if five seconds have passed.

        Args:
            text: What is being done.
            left_s: Seconds until the step is done; None where it is not known.
            force: Whether the text is shown at once.
        """
        if not self._enabled or self._is_silent:
            return
        with self._lock:
            self._set_state(text, left_s)
            now_s = time.monotonic()
            if force or now_s - self._last_s >= (LIVE_INTERVAL_S if self._live else PLAIN_INTERVAL_S):
                shown = self._state_text(now_s)
                if self._live:
                    self._write_live(shown)
                else:
                    self._say(shown)
                self._last_s = now_s

    def count(self, label: str, done: int, total: int | None) -> None:
        """Show how far a step is, with the time left; what is done is not repeated while others go on."""
        if not self._enabled:
            return
        with self._lock:
            self.show(counted_text(label, done, total), left_s=self._pace.left_s(label, done, total))
            if done == total:
                self._set_state("", None)

    def _set_state(self, text: str, left_s: float | None) -> None:
        self._state = text
        self._ends_s = None if left_s is None else time.monotonic() + left_s

    def _state_text(self, now_s: float) -> str:
        if self._ends_s is None or not self._state:
            return self._state
        left_s = self._ends_s - now_s
        return f"{self._state}  {time_left(left_s) if left_s > -1 else 'longer than expected'}"

    def step(self, text: str) -> None:
        """Print that a step is done: the line stays on the terminal."""
        if not self._enabled or self._is_silent:
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

    def beat(self) -> None:
        """Print the newest state again, if nothing was printed for long."""
        with self._lock:
            now_s = time.monotonic()
            if not self._enabled or self._is_silent or now_s - self._said_s < self._silence_s:
                return
            for_s = time_text(now_s - self._stage_s)
            text = "  ".join(filter(None, [f"{self._stage}: going on for {for_s}", self._state_text(now_s)]))
            if self._live:
                self._write_live(text)
            else:
                self._say(text)

    def _beat_on(self) -> None:
        while not self._over.wait(min(1.0, self._silence_s / 4)):
            self.beat()

    def __enter__(self) -> "ProgressLine":
        if self._enabled:
            self._said_s = self._stage_s = time.monotonic()
            threading.Thread(target=self._beat_on, name="progress", daemon=True).start()
        return self

    def end(self) -> None:
        """Print nothing more: the answer follows."""
        self._over.set()
        self._is_silent = True
        self.clear()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Print nothing while the user is asked something."""
        with self._lock:
            self.clear()
            self._is_silent = True
        try:
            yield
        finally:
            self._is_silent = self._over.is_set()
            self._said_s = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


@contextmanager
def progress_of(context: click.Context, *, enabled: bool) -> Iterator[ProgressLine]:
    """Open the progress line of a whole command, which is then never silent for long."""
    with ProgressLine(enabled=enabled, stage=context.command_path.removeprefix("nuwa ")) as line:
        context.meta[_META] = line
        yield line


def current_line() -> ProgressLine:
    """Return the progress line of the running command; where there is none, a line that shows nothing."""
    context = click.get_current_context(silent=True)
    line = None if context is None else context.meta.get(_META)
    return line if isinstance(line, ProgressLine) else ProgressLine(enabled=False)


class Pace:
    """Knows how long each step has run, and from that how long it will."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}

    def left_s(self, label: str, done: int, total: int | None) -> float | None:
        """Estimate the seconds left of a step; None until it is known, and of a step that is done."""
        now_s = time.monotonic()
        if done < self._begun.get(label, (now_s, done))[1]:
            del self._begun[label]  # another step of the same name
        begun_s, before = self._begun.setdefault(label, (now_s, done))
        if done == total:
            del self._begun[label]  # what is done has nothing left, and what follows it is another step
        if not total or done <= before or done >= total:
            return None
        return (now_s - begun_s) / (done - before) * (total - done)


def counted_text(label: str, done: int, total: int | None) -> str:
    """Render a count: ``images 3/8``, ``rows 3``, or the label alone of what has no number."""
    if total:
        return f"{label} {done}/{total}"
    return f"{label} {done}" if done else label


def time_left(seconds: float) -> str:
    """Render seconds left: ``1 min 20 s left``, at least a second while it goes on."""
    return f"{time_text(max(1.0, seconds))} left"


def time_text(seconds: float) -> str:
    """Render a length of time: ``1 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
