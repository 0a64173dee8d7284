"""Bring the schema of an opened database to this program's version."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from nuwa_search.core.counting import count
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.backup import back_up
from nuwa_search.store.database import POSTGRES_SCHEMA, Database
from nuwa_search.store.failures import is_busy
from nuwa_search.store.revisions import HEAD, REVISIONS, VERSION_TABLE

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationInfo

# Any fixed number: processes that open an empty database at once wait for the one that creates it.
_UPGRADE_LOCK = 0x6E757761
OPTUNA_TABLE = "study_directions"
"""Of Optuna's storage, which may share the database (optuna/storages/_rdb/models.py of Optuna 5.0)."""


def find_revision(connection: Connection) -> str | None:
    """Read the schema version; None for a database without our tables."""
    if connection.dialect.name == "sqlite":
        known = connection.execute(
            text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"), {"name": VERSION_TABLE}
        ).scalar()
    else:
        known = connection.execute(
            text("SELECT to_regclass(:name)"), {"name": f"{POSTGRES_SCHEMA}.{VERSION_TABLE}"}
        ).scalar()
    if known is None:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
    return None if found is None else str(found)


def check_revision(found: str, shown_url: str) -> None:
    """Refuse a schema that this program does not know.

    Raises:
        NuwaError: If the database is from a newer version.
    """
    if found not in REVISIONS:
        raise NuwaError(
            f"the database {shown_url} has schema {found}, and this nuwa-search knows up to {HEAD}: "
            "it is from a newer version",
            hint="pip install --upgrade nuwa-search, or name another database with --db",
        )


def check_ownership(connection: Connection, shown_url: str) -> None:
    """Refuse a database without our tables that holds those of another program.

    Raises:
        NuwaError: If there is any table or view but Optuna's, which may come first. In PostgreSQL our schema alone
            counts: others may lie beside it.
    """
    schema = None if connection.dialect.name == "sqlite" else POSTGRES_SCHEMA
    found = inspect(connection)
    names = [*found.get_table_names(schema), *found.get_view_names(schema)]
    if names and OPTUNA_TABLE not in names:
        raise NuwaError(
            f"the database {shown_url} belongs to another program: it holds {', '.join(sorted(names)[:3])}, "
            "and none of the tables of a search database",
            hint="name another database with --db; a new one is made where there is no file yet",
        )


def stored_revision(database: Database) -> str | None:
    """Read the schema version without changing anything; None for a database without our tables.

    Raises:
        NuwaError: If the file is not a database.
        OutsideError: If the server or disk fails.
    """
    with database.read() as connection:
        return find_revision(connection)


def ensure_schema(database: Database) -> None:
    """Create or upgrade our tables; where they are up to date, only read the version.

    A SQLite file is backed up beside itself before it is upgraded (``database.backup_path``); on PostgreSQL that is the
    server's own job.

    Raises:
        NuwaError: If the file is not a database, another program's, or from a newer version.
        OutsideError: If the server or disk fails, or the backup cannot be written.
    """
    with database.read() as connection:
        found = find_revision(connection)
        if found is None:
            check_ownership(connection, database.shown_url)
    if found is not None:
        check_revision(found, database.shown_url)
    if found == HEAD:
        return
    if found is None and database.is_sqlite:
        _switch_to_wal(database)
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {POSTGRES_SCHEMA}"))
        found = find_revision(connection)  # another process may have been faster
        if found is None:
            check_ownership(connection, database.shown_url)
        else:
            check_revision(found, database.shown_url)
        if found != HEAD:
            if found is not None and database.is_sqlite:  # nobody else writes now: this transaction has the lock
                database.backup_path = back_up(Path(database.url.database or ""), found)
            upgrade(connection)


def _switch_to_wal(database: Database) -> None:
    """Let readers and one writer work at the same time; SQLite remembers it in the file."""
    with database.read():
        pass  # a file that is no database fails here, with its own message
    deadline = time.monotonic() + 5.0  # switching does not wait for locks as statements do
    connection = database.engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL").fetchone()
            except Exception as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise OperationalError("PRAGMA journal_mode", None, error) from error
                time.sleep(0.05)
            else:
                return
    finally:
        connection.close()


def alembic_config(connection: Connection) -> "Config":
    """Point Alembic at the migrations in this package and at an open transaction."""
    from alembic.config import Config  # takes 0.1 s, and most commands never need it

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["on_version"] = _count_version
    return config


def _count_version(*, step: "MigrationInfo", **_: object) -> None:
    """Tell how far an upgrade is: a large database takes minutes."""
    revision = step.up_revision_id
    if revision in REVISIONS:
        count("schema versions", REVISIONS.index(revision) + 1, len(REVISIONS))


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations that are missing, inside the transaction of ``connection``."""
    from alembic import command

    command.upgrade(alembic_config(connection), revision)
