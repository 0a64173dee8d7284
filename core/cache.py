"""A folder of computed tensors, found by the hash of what they were computed from.

One entry is one safetensors file whose header carries its key, a version and a checksum, so a file that
was cut short, edited, renamed or written by other code is noticed and computed again.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nuwa_search.core.errors import OutsideError
from nuwa_search.core.weights import hash_tensors

VERSION = "1"
"""Of the layout; raise it when the meaning of stored tensors changes."""


def content_key(*parts: str | int | float | bool | tuple[int, ...] | None) -> str:
    """Hash the values an entry depends on, in order: 32 hex digits of SHA-256."""
    text = json.dumps(parts, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """Entries by stage and key under ``root``; safe for many readers and writers at once.

    A writer fills a temporary file beside the entry and renames it, so readers see whole entries or none.

    Args:
        root: Folder; made when the first entry is written.
    """

    root: Path

    def path(self, stage: str, key: str) -> Path:
        """Return where an entry lies, whether or not it is there."""
        return self.root / stage / f"{key}.safetensors"

    def load(self, stage: str, key: str) -> dict[str, Tensor] | None:
        """Read an entry's tensors (on the CPU); None when it is missing, corrupt or stale."""
        try:
            with safe_open(self.path(stage, key), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (FileNotFoundError, SafetensorError, OSError, ValueError):
            return None
        wanted = {"stage": stage, "key": key, "version": VERSION}
        if any(header.get(name) != value for name, value in wanted.items()):
            return None
        return tensors if header.get("checksum") == hash_tensors(tensors) else None

    def save(self, stage: str, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry, replacing one that is there.

        Raises:
            OutsideError: If the folder cannot be written or the disk is full.
        """
        path = self.path(stage, key)
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        header = {"stage": stage, "key": key, "version": VERSION, "checksum": hash_tensors(plain)}
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            os.close(handle)
            save_file(plain, temporary, metadata=header)
            Path(temporary).replace(path)
        except (OSError, SafetensorError) as error:
            if temporary:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink(missing_ok=True)
            raise OutsideError(
                f"cache entry {path} cannot be written: {error}", hint="free disk space or choose another cache folder"
            ) from error

    def get(self, stage: str, key: str, build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Read an entry, or build and write it; two builders at once do the work twice and agree."""
        found = self.load(stage, key)
        if found is None:
            found = build()
            self.save(stage, key, found)
        return found
