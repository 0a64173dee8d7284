"""Say what an upgrade of a database does, before and after."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.settings import without_secret
from nuwa_search.store.database import Database, engine_from_url, url_from_text
from nuwa_search.store.revisions import HEAD
from nuwa_search.store.schema import stored_revision


@dataclass(frozen=True)
class FoundSchema:
    """What a database has before it is opened for work.

    Args:
        revision: Its schema; None for a database without our tables.
        is_sqlite: Whether it is a file.
        url: Where it is, as `pg_dump` takes it, without a password.
    """

    revision: str | None
    is_sqlite: bool
    url: str

    @property
    def is_old(self) -> bool:
        return self.revision not in (None, HEAD)

    @property
    def dump_line(self) -> str:
        """The command that backs a PostgreSQL database up."""
        return f"pg_dump --format=custom --file=nuwa-{self.revision}.dump '{self.url}'"


def find_schema(text: str) -> FoundSchema:
    """Read which schema a database has; nothing is changed.

    Args:
        text: A URL or a path, as ``open_store`` takes it.

    Raises:
        NuwaError: If the URL cannot be used, or the file is no database.
        OutsideError: If the server, disk or folder fails.
    """
    url = url_from_text(text)
    shown = without_secret(url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False))
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return FoundSchema(None, True, shown)
    with Database(url, engine_from_url(url)) as database:
        return FoundSchema(stored_revision(database), database.is_sqlite, shown)


def upgraded_line(database: Database) -> str | None:
    """Return where the copy lies that opening a SQLite file made before it upgraded it; None where it made none."""
    if database.backup_path is None:
        return None
    return f"upgraded to schema {HEAD}; as it was before: {database.backup_path}"
