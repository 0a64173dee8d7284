"""Run a job with somebody watching, and say how it goes on after Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager

from nuwa_search.core.counting import counts_to
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory
from nuwa_search.lab.event import Callback, hooks_of
from nuwa_search.search.hooks import Hooks


@contextmanager
def watched(callback: Callback | None, *, go_on: str = "") -> Iterator[Hooks]:
    """Give a job its hooks; what its loops count is told to them too.

    Args:
        callback: Who watches; None leaves counts to whoever listens already.
        go_on: The call that goes on after Ctrl-C, for the note that is put on the ``KeyboardInterrupt``; empty where
            nothing is left to go on from.
    """
    hooks = hooks_of(callback)
    try:
        if callback is None:
            yield hooks
        else:
            with counts_to(hooks.count):
                yield hooks
    except KeyboardInterrupt as error:
        if go_on:
            error.add_note(f"interrupted; everything that was done is saved, and goes on with: {go_on}")
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        told = out_of_memory(error, go_on=go_on)
        if told is error:
            raise
        raise told from error
