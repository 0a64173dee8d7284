"""Open a database for work."""

from collections.abc import Callable
from pathlib import Path

from nuwa_search.core.settings import default_db_url
from nuwa_search.lab.lab import Lab


def open_lab(
    database: str | Path | None = None,
    *,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Lab:
    """Open a search database, creating or upgrading its tables where needed.

    Args:
        database: Path of a SQLite file, ``sqlite:///path`` or ``postgresql://user@host/name``; None for the one that
            the command line takes without ``--db``.
        cache_dir: Folder for caches that can be deleted at any time; None for the user's.
        say: Told what a person should know beside an answer; None warns with ``NuwaWarning``.

    Raises:
        NuwaError: If it is no search database, or one of a newer version.
        OutsideError: If the server, disk or folder fails.
    """
    url = default_db_url() if database is None else str(database)
    lab = Lab(url, cache_dir=None if cache_dir is None else Path(cache_dir), say=say)
    lab.store  # noqa: B018 - a database that cannot be opened is told here, and not by the first verb
    return lab
