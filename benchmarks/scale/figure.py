"""One row of the table: something that was counted or timed, and what it is held against."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Bound = Literal["==", ">=", "<="]
_HOLDS: dict[Bound, Callable[[float, float], bool]] = {"==": operator.eq, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Figure:
    """What was found, and what was wanted.

    Args:
        name: What was counted or timed, with its unit.
        value: What was found.
        wanted: Bound and number that it is held against; None for a figure that is only told.
        note: How it was obtained.
    """

    name: str
    value: float
    wanted: tuple[Bound, float] | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is as wanted; a figure that is only told always is."""
        return self.wanted is None or _HOLDS[self.wanted[0]](self.value, self.wanted[1])


Case = Callable[[Path, bool], Iterable[Figure]]
"""Takes an empty folder of its own and whether a small run will do; its figures come together or not at all."""
