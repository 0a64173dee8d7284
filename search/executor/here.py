"""Callbacks of work that may travel."""

from collections.abc import Callable
from dataclasses import dataclass


def told_nobody(*_: object) -> None:
    """Take what is told, and do nothing."""


@dataclass(frozen=True)
class Here:
    """A callback that stays where it was made: where the work goes to another process, nobody is told."""

    tell: Callable[..., object]

    def __call__(self, *values: object) -> None:
        self.tell(*values)

    def __reduce__(self) -> tuple[type["Here"], tuple[Callable[..., object]]]:
        return Here, (told_nobody,)
