"""Boards as processes on this machine, on loopback: to try a collaboration without the boards."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nuwa_search.deploy.collaborate.kit import Kits

STOP_S = 5.0
"""A board ends within a fraction of a second; what does not is killed."""


@contextmanager
def local_boards(kits: Kits, *, address: str, emulate_pace: bool) -> Iterator[tuple["subprocess.Popen[bytes]", ...]]:
    """Start every board of some kits here, and end them all at the end of the block.

    Args:
        kits: Their folders.
        address: Of the coordinator.
        emulate_pace: Whether they wait until their predicted times are over.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        for folder in kits.boards.values():
            line = board_line(folder, address=address, emulate_pace=emulate_pace)
            started.append(subprocess.Popen(line))  # who runs is ended where another cannot start
        yield tuple(started)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def board_line(folder: Path, *, address: str, emulate_pace: bool) -> Sequence[str]:
    """Write the line that starts a board with this Python."""
    paced = ["--emulate-pace"] if emulate_pace else []
    return [sys.executable, str(folder / "board.py"), "--quiet", "--coordinator", address, *paced]
