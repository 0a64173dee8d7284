"""Loops that count: whoever runs them is told how far they are, without a callback in every signature."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Count = Callable[[str, int, int | None], None]
"""Told a label, things done, and things in all (None: not known)."""

_LISTENER: ContextVar[Count | None] = ContextVar("nuwa_count", default=None)
"""Of this thread or task; what runs in another thread counts for nobody."""


@contextmanager
def counts_to(listener: Count | None) -> Iterator[None]:
    """Let ``listener`` hear every count inside the block, instead of whoever heard it outside; None for nobody."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def count(label: str, done: int, total: int | None) -> None:
    """Tell how far a loop is; costs next to nothing where nobody listens."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(label, done, total)


def counted(label: str, items: Collection[Item], *, sizes: Callable[[Item], int] = lambda _: 1) -> Iterator[Item]:
    """Go through ``items`` and tell after each how far it is.

    Args:
        label: What is counted.
        items: To go through.
        sizes: What one of them counts for, such as the images of a batch.
    """
    total = sum(sizes(item) for item in items)
    done = 0
    for item in items:
        yield item
        done += sizes(item)
        count(label, done, total)
