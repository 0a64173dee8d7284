"""One reader of files or requests from outside, as the fuzzer sees it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.errors import NuwaError

Mutate = Callable[[random.Random, bytes], bytes]


class RefusedError(Exception):
    """A refusal of a program that raises nothing: its exit code and its words."""


NAMED: tuple[type[BaseException], ...] = (NuwaError, RefusedError)


@dataclass(frozen=True)
class Reader:
    """One reader of the program.

    Args:
        name: Of its row in the table.
        path: The file that is malformed; what lies beside it is valid.
        mutate: Makes a malformed document of the valid one.
        read: Reads it as the program does.
        named: What it refuses with.
        share: Of the inputs that other readers get: less where one reading takes long.
    """

    name: str
    path: Path
    mutate: Mutate
    read: Callable[[], object]
    named: tuple[type[BaseException], ...] = NAMED
    share: float = 1.0

    def malformed(self, document: bytes, *, number: int, seed: int) -> bytes:
        """Make the input of a number: the same for the same seed, whatever was fed before."""
        return self.mutate(random.Random(f"{seed}/{self.name}/{number}"), document)
