"""The JSON lists that `trtexec` writes, one entry at a time: a times file of minutes holds millions."""

import io
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from nuwa_search.core.documents import strict_decoder
from nuwa_search.deploy.tensorrt.log_source import LogSource
from nuwa_search.deploy.tensorrt.report import CutOffError

_CHUNK = 1 << 16
_LONGEST_ENTRY = 1 << 22  # an exported output of 100 000 logits of at most 13 characters; rows and layers are short
_BLANK = " \t\r\n"


def list_entries(source: LogSource, *, what: str, max_entries: int, longest: int = _LONGEST_ENTRY) -> Iterator[Any]:
    """Go through the entries of a JSON list of objects; only one of them is in memory.

    Args:
        source: The text, or the file that holds it.
        what: What it is, for errors, such as ``the times file``.
        max_entries: Entries from which on it is not read further.
        longest: Characters that one entry may have.

    Raises:
        CutOffError: If it is not a whole JSON list, is longer than allowed, or holds what ``json_from_text`` refuses.
    """
    file = io.StringIO(source) if isinstance(source, str) else source.open(encoding="utf-8", errors="replace")
    with closing(file):
        for count, entry in enumerate(_Reader(file, what=what, longest=longest).entries()):
            if count >= max_entries:
                raise CutOffError(f"{what} holds more than {max_entries} entries")
            yield entry


class _Reader:
    def __init__(self, file: io.TextIOWrapper | io.StringIO, *, what: str, longest: int) -> None:
        self._file = file
        self._what = what
        self._longest = longest
        self._text = ""
        self._at = 0
        self._decoder = strict_decoder()

    def entries(self) -> Iterator[Any]:
        if self._next_mark() != "[":
            raise CutOffError(f"{self._what} is not a list")
        self._at += 1
        mark = self._next_mark()
        while mark != "]":
            yield self._entry()
            mark = self._next_mark()
            if mark not in (",", "]"):
                raise self._broken("an entry is followed by neither a comma nor the end of the list")
            if mark == ",":
                self._at += 1
                self._next_mark()
        self._at += 1
        if self._next_mark():
            raise self._broken("something follows its end")

    def _next_mark(self) -> str:
        """Skip blanks and return the next character; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = self._file.read(_CHUNK), 0
            if not self._text:
                return ""

    def _entry(self) -> Any:
        """Decode one entry, reading on while it is not whole."""
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                held = len(self._text) - self._at
                piece = self._file.read(_CHUNK) if held < self._longest else ""
                if not piece:
                    raise self._broken(str(error)) from error
                self._text, self._at = self._text[self._at :] + piece, 0
            except (ValueError, RecursionError) as error:
                raise self._broken(str(error)) from error
            else:
                return value

    def _broken(self, why: str) -> CutOffError:
        return CutOffError(f"{self._what} is not whole JSON: {why}")
