"""Ask whether a database holds nothing yet, with SQLite alone: SQLAlchemy takes longer to import than the answer."""

import sqlite3
from contextlib import closing

from nuwa_search.core.home import expanded
from nuwa_search.store.revisions import HEAD, VERSION_TABLE

_SCHEME = "sqlite:///"
# Every row that ``nuwa query`` shows is of one of these, or belongs to a row of one.
_NOUNS = (
    *("nuwa_subnets", "nuwa_measurements", "nuwa_searches", "nuwa_devices", "nuwa_certificates"),
    "nuwa_collaborations",
)


def is_empty(text: str) -> bool:
    """Return whether a SQLite database is not there yet, or is of this version and has no rows.

    False is "ask the store": another kind of database, another version, a file that cannot be read.

    Args:
        text: A URL or a path, as ``open_store`` takes it.
    """
    if "://" in text and not text.startswith(_SCHEME):
        return False
    path = expanded(text.removeprefix(_SCHEME)).absolute()
    if "?" in str(path) or not path.name:
        return False
    if not path.exists():
        return not path.is_symlink()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            version = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
            if version != (HEAD,):
                return False
            return not any(connection.execute(f"SELECT 1 FROM {noun} LIMIT 1").fetchone() for noun in _NOUNS)  # noqa: S608
    except sqlite3.Error:
        return False
