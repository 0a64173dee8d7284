"""Keep Ctrl-C and SIGTERM out of the moments in which something is half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Holder:
    """A signal handler that keeps signals, or lets the second one of a kind through."""

    def __init__(self, handlers: dict[int, _Handler], *, is_breakable: bool) -> None:
        self.handlers = handlers
        self.is_breakable = is_breakable
        self.kept: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in self.kept and self.is_breakable:
            self.handlers[number](number, frame)
        self.kept.append(number)

    def pass_on(self, number: int) -> None:
        """Let a signal's own handler have what was kept."""
        if number in self.kept:
            self.handlers[number](number, None)


@contextmanager
def interrupt_deferred(*, is_breakable: bool = False) -> Iterator[None]:
    """Hold a Ctrl-C or a SIGTERM back until the block is done, then let its handler have it.

    A KeyboardInterrupt inside a database driver can leave the transaction open, and with it the lock on the
    whole database. Blocks may be nested; then the outer one decides. Outside the main thread, where Python
    handles no signals, and where a signal is ignored or left to the system, the block runs as it is.

    Args:
        is_breakable: Whether a second signal of a kind breaks through: for blocks that may wait for others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    if any(isinstance(handler, _Holder) for handler in found.values()):
        yield  # inside another such block
        return
    handlers: dict[int, _Handler] = {number: handler for number, handler in found.items() if callable(handler)}
    holder = _Holder(handlers, is_breakable=is_breakable)
    with ExitStack() as stack:  # what comes while one handler is put back must not leave the other one out
        for number in handlers:
            stack.callback(holder.pass_on, number)
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, holder)
        yield


def end_like_ctrl_c() -> None:
    """Make SIGTERM, by which service managers end a process, raise KeyboardInterrupt as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
