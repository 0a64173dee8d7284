"""``classes.txt``: the names of the ids in masks, one a line from id 0 on."""

from pathlib import Path

from nuwa_search.core.class_names import checked_names
from nuwa_search.core.documents import read_text
from nuwa_search.core.errors import NuwaError

CLASS_FILE = "classes.txt"
MAX_BYTES = 1_000_000
"""Of the file: 255 names need a few thousand."""


def find_class_file(folder: Path) -> Path | None:
    """Find the class file of a data set, in its folder or, of one split alone, in the folder above."""
    return next((f for f in (folder / CLASS_FILE, folder.parent / CLASS_FILE) if f.is_file()), None)


def read_class_file(folder: Path) -> tuple[str, ...]:
    """Read the names of the ids in a data set's masks.

    Raises:
        NuwaError: If there is no such file, it cannot be read, or names fewer than two classes.
    """
    path = find_class_file(folder)
    hint = f"write {folder / CLASS_FILE}: one name a line, from id 0 on"
    if path is None:
        raise NuwaError(f"{folder} holds masks, and no {CLASS_FILE} names their ids", hint=hint)
    text = read_text(path, what="class file", hint=hint, max_bytes=MAX_BYTES)
    names = checked_names(text.rstrip().splitlines(), where=str(path))
    if len(names) < 2:
        raise NuwaError(f"{path} names {len(names)} classes, wanted two at least", hint=hint)
    return names
