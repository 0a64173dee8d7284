"""Back up a SQLite database before its tables are changed: there is no way back from an upgrade."""

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from nuwa_search.core.errors import OutsideError

_PAGES = 2000
"""Pages that one step of the copy reads, 8 MB of 4 kB pages: Ctrl-C is heard between two steps."""


def back_up(path: Path, revision: str) -> Path:
    """Copy a SQLite file beside itself, as its readers see it, and return where the copy lies.

    SQLite's backup API reads what is in the write-ahead log too, which a copied file would lack. The copy has its name
    only when it is whole.

    Args:
        path: The database.
        revision: Schema that it has, which the name of the copy tells.

    Raises:
        OutsideError: If it cannot be written.
    """
    copy = _free_name(path, revision)
    part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target, pages=_PAGES)
        part.replace(copy)
    except (sqlite3.Error, OSError) as error:
        raise OutsideError(
            f"{path} has an older schema, and no backup of it can be written to {copy}: {error}",
            hint="free as much disk as the database takes, or copy it elsewhere and name the copy with --db; "
            "nothing was changed",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return copy


def _free_name(path: Path, revision: str) -> Path:
    """Name a copy that is not there yet: earlier ones stay."""
    named = path.with_name(f"{path.name}.{revision}.bak")
    number = 1
    while named.exists():
        number += 1
        named = path.with_name(f"{path.name}.{revision}.{number}.bak")
    return named
