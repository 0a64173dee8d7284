"""What a process tells of its work, on its way to where the command was typed."""

import time
from collections.abc import Callable
from typing import Any

from nuwa_search.deploy.train.outcome import Progress

TELL_S = 0.25
"""Between two messages of a kind: each is a file or a call over the network, and nobody reads faster."""
Message = tuple[str, tuple[Any, ...]]


class Sender:
    """Sends messages, no more of a kind than can be read; an early one that is dropped is followed by a later one.

    ``last`` is what sending the last one returned.

    Args:
        send: Takes one message.
    """

    def __init__(self, send: Callable[[Message], object]) -> None:
        self._send = send
        self.last: Any = None
        self._last_s: dict[str, float] = {}

    def progress(self, *values: Any) -> None:
        """Tell where the work stands; what happened, and the last step, always."""
        is_last = any(isinstance(now, Progress) and (now.event or now.step == now.steps) for now in values)
        self._tell("progress", values, at_once=is_last)

    def count(self, label: str, done: int, total: int | None) -> None:
        """Tell how far a loop is; its end always."""
        self._tell("count", (label, done, total), at_once=done == total)

    def _tell(self, name: str, values: tuple[Any, ...], *, at_once: bool = False) -> None:
        now_s = time.monotonic()
        if at_once or now_s - self._last_s.get(name, 0.0) >= TELL_S:
            self._last_s[name] = now_s
            self.last = self._send((name, values))
