"""How commands and files reach another machine; implementations are handed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nuwa_search.core.errors import OutsideError


class ConnectionFailedError(OutsideError):
    """The machine could not be reached, or the connection broke; trying again may help."""


class CommandTimeoutError(OutsideError):
    """A command did not answer in its time."""


class DiskFullError(OutsideError):
    """There is no room on the other machine."""


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind; ``returncode`` is 128 + signal for a killed process."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + ("\n" if self.stdout and not self.stdout.endswith("\n") else "") + self.stderr


class Transport(Protocol):
    """A shell and a file copy on one machine.

    A transport connects when it is first used, and again when the connection is gone. Any method
    raises ``ConnectionFailedError`` when the machine cannot be reached or is lost on the way; what a
    command did by then is not known.

    Threads: one at a time. Ownership: who made it closes it. Guarantees: ``nuwa_search.testing.transport``.
    """

    @property
    def address(self) -> str:
        """Name the machine for people, such as ``user@host:22``."""
        ...

    def run(self, argv: Sequence[str], *, timeout_s: float, output_path: Path | None = None) -> CommandResult:
        """Run a command and wait for its end; arguments are quoted, never interpreted.

        Args:
            argv: The command.
            timeout_s: Longest it may take.
            output_path: File here that takes the standard output as it comes, for commands that may print
                more than memory should hold; the result's ``stdout`` is empty then.

        Raises:
            CommandTimeoutError: If it takes longer than ``timeout_s``.
        """
        ...

    def put(self, local: Path, remote: str) -> None:
        """Copy a file there.

        Raises:
            DiskFullError: If there is no room.
        """
        ...

    def get(self, remote: str, local: Path) -> None:
        """Copy a file here."""
        ...

    def make_dir(self, remote: str) -> None:
        """Create a folder and its parents, readable by its owner only."""
        ...

    def remove(self, remote: str) -> None:
        """Delete a file or a whole folder; nothing there is no error."""
        ...

    def free_disk_mb(self, remote: str) -> float:
        """Measure the room where ``remote`` lies, in MiB."""
        ...

    def close(self) -> None:
        """Give the connection back; the transport may be used again."""
        ...


Reach = Callable[[str, str], Transport | None]
"""Finds the way to a board by its name and its address as registered; None is the usual one, from this machine."""
