"""A folder on this side for what comes back from a board."""

import tempfile
from pathlib import Path


class LocalFolder:
    """A temporary folder that is made when it is first asked for, and again after ``cleanup``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> Path:
        if self._made is None:
            self._made = tempfile.TemporaryDirectory(prefix=self._prefix)
        return Path(self._made.name)

    def cleanup(self) -> None:
        """Delete the folder; nothing there is no error."""
        if self._made is not None:
            self._made.cleanup()
            self._made = None
