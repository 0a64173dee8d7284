"""What lies in the cache folder: by kind, with size and age; none of it is needed, all of it saves time."""

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.errors import OutsideError

KINDS = {
    "base": "the default base, read out of its package",
    "derive": "statistics of bases on images: searches and `nuwa derive`",
    "search": "single cuts of a base and how they score: searches",
    "task": "heads fitted to a task, with the features they were fitted to: searches",
    "teacher": "outputs of the base on training images: fine-tuning",
    "small": "small ViTs that searches hold their winner against",
    "finetune": "checkpoints of fine-tuning: what --resume goes on from",
    "device-answers": "answers of a device to single images: `nuwa evaluate --device`",
}
"""Folders of the cache, with what they hold and what uses it."""
_WHOLE = ("finetune",)
"""Kinds whose folders are one entry each."""
_BEING_WRITTEN_S = 3600.0
"""A temporary file younger than this may be the one that a process writes now."""


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache.

    Args:
        kind: Folder that it lies in.
        path: A file, or a folder that belongs together.
        num_bytes: Of all its files.
        age_s: Seconds since it was last written.
    """

    kind: str
    path: Path
    num_bytes: int
    age_s: float


def find_entries(
    root: Path, *, kinds: Collection[str] = (), older_s: float = 0.0, busy_studies: Collection[str] = ()
) -> list[CacheEntry]:
    """List what is in a cache folder.

    Args:
        root: The folder; one that is not there holds nothing. Only folders of ``KINDS`` in it are looked at.
        kinds: Only these; empty for all.
        older_s: Only what was last written so many seconds ago.
        busy_studies: Studies that run now: their checkpoints are left out, and so is what is being written.
    """
    now = time.time()
    found = []
    for kind in KINDS:
        if kinds and kind not in kinds:
            continue
        for path in _paths(root / kind, whole=kind in _WHOLE):
            entry = _entry(kind, path, now)
            if entry is None or entry.age_s < older_s:
                continue
            is_busy = kind in _WHOLE and path.name in busy_studies
            if not is_busy and not (path.suffix == ".part" and entry.age_s < _BEING_WRITTEN_S):
                found.append(entry)
    return found


def remove_entries(entries: Collection[CacheEntry]) -> int:
    """Delete entries and return the bytes that this freed; one that is gone already counts as nothing.

    Raises:
        OutsideError: If one may not be deleted.
    """
    freed = 0
    for entry in entries:
        try:
            if entry.path.is_dir() and not entry.path.is_symlink():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutsideError(
                f"{entry.path} cannot be deleted: {error.strerror or error}",
                hint="check who owns it; `nuwa cache ls` shows what is left",
            ) from error
        freed += entry.num_bytes
    return freed


def _paths(folder: Path, *, whole: bool) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir() if whole else folder.rglob("*")):
        if whole or not path.is_dir():
            yield path


def _entry(kind: str, path: Path, now: float) -> CacheEntry | None:
    """Measure an entry; None where another process took it away."""
    files = [path] if path.is_symlink() or not path.is_dir() else [path, *path.rglob("*")]
    try:
        stats = [file.lstat() for file in files]
    except OSError:
        return None
    num_bytes = sum(stat.st_size for file, stat in zip(files, stats, strict=True) if not file.is_dir())
    return CacheEntry(kind, path, num_bytes, max(0.0, now - max(stat.st_mtime for stat in stats)))
