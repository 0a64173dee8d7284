"""Text that `trtexec` printed, line by line, from a file or a string, in bounded memory."""

import io
from collections.abc import Iterator
from pathlib import Path

LogSource = str | Path
"""What was printed: the text itself, or the file that holds it."""

# Longer than any line of trtexec that is read here (summaries are 200 characters); of a longer one the
# beginning is kept, so that a file without line ends cannot fill the memory.
_LONGEST_LINE = 1 << 16


def log_lines(source: LogSource) -> Iterator[str]:
    """Go through the lines without their ends; what a line holds beyond 64 Ki characters is left out."""
    if isinstance(source, str):
        yield from _lines(io.StringIO(source, newline=None))
        return
    with source.open(encoding="utf-8", errors="replace") as file:
        yield from _lines(file)


def _lines(file: io.TextIOBase | io.StringIO) -> Iterator[str]:
    is_inside = False
    while piece := file.readline(_LONGEST_LINE):
        if not is_inside:
            yield piece.rstrip("\n")
        is_inside = not piece.endswith("\n")
