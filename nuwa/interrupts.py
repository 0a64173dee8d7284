"""Keep Ctrl-C and SIGTERM out of the moments in which something is half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Holder:
    """A signal handler that keeps the first signal of a kind, and lets the second one through."""

    def __init__(self, handlers: dict[int, Callable[[int, FrameType | None], object]]) -> None:
        self.handlers = handlers
        self.kept: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in self.kept:
            self.handlers[number](number, frame)
        self.kept.append(number)


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Hold a Ctrl-C or a SIGTERM back until the block is done, then let its handler have it.

    A KeyboardInterrupt inside a database driver can leave the transaction open, and with it the lock on the
    whole database. A second signal breaks through: a block that waits for something can still be left. Blocks
    may be nested. Outside the main thread, where Python handles no signals, and where a signal is ignored or
    left to the system, the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    if any(isinstance(handler, _Holder) for handler in found.values()):
        yield  # inside another such block
        return
    holder = _Holder({number: handler for number, handler in found.items() if callable(handler)})
    try:
        for number in holder.handlers:
            signal.signal(number, holder)
        yield
    finally:
        for number, handler in holder.handlers.items():
            signal.signal(number, handler)
        for number in holder.kept:
            holder.handlers[number](number, None)


def end_like_ctrl_c() -> None:
    """Make SIGTERM, by which service managers end a process, raise KeyboardInterrupt as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
