"""Turn what database drivers raise into errors that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from nuwa_search.core.errors import NuwaError, OutsideError

# Primary result codes of SQLite (https://www.sqlite.org/rescode.html) and SQLSTATEs of PostgreSQL
# (https://www.postgresql.org/docs/current/errcodes-appendix.html), by what they mean for a person.
_NOT_A_DATABASE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT})
_DISK_FULL = frozenset({sqlite3.SQLITE_FULL, "53100"})
_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, "25006"})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, "55P03"})
_CANNOT_OPEN = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM})
# A table, a type or an index is there already; SQLite has no code of its own for it: only that of a wrong statement,
# or, seen where four connections make the same tables at once, that of a schema that changed.
_ALREADY_MADE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, "42P07", "42710", "23505"})

DATABASE_ERRORS = (SQLAlchemyError,)
"""What SQLAlchemy raises, for layers that use a database without knowing it."""


def code_of(error: BaseException | None) -> int | str | None:
    """Read the driver's own code: SQLite's primary result code, PostgreSQL's SQLSTATE; None where there is none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)  # the driver's own complaints have none
        return None if code is None else int(code) & 0xFF
    state = getattr(cause, "sqlstate", None)
    return None if state is None else str(state)


def is_busy(error: BaseException) -> bool:
    """Tell whether another process held the lock."""
    return code_of(error) in _BUSY


def is_already_made(error: BaseException) -> bool:
    """Tell whether something may be there already that was to be made; on SQLite any refused statement may be that."""
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and code_of(error) in _ALREADY_MADE)


def error_from_driver(error: DBAPIError, shown_url: str) -> NuwaError | None:
    """Name the failure of the database at ``shown_url`` (without password); None for a fault of this program."""
    text = str(error.orig).strip() or type(error.orig).__name__
    line, code = text.splitlines()[0], code_of(error)
    if code in _NOT_A_DATABASE:
        return NuwaError(
            f"{shown_url} cannot be read as a search database: {line}",
            hint="name another database with --db, or restore this file from a backup",
        )
    if code in _DISK_FULL:
        return OutsideError(
            f"no space left to write to the database {shown_url}",
            hint="free some disk space and run the command again; what was saved before is intact",
        )
    if code in _READ_ONLY:
        return OutsideError(
            f"the database {shown_url} is read-only here", hint="allow writing, or name another with --db"
        )
    if code in _BUSY:
        return OutsideError(
            f"the database {shown_url} stayed locked by another process",
            hint="wait until the other process is done, or use PostgreSQL for many writers",
        )
    if code in _CANNOT_OPEN:
        return OutsideError(
            f"the database {shown_url} cannot be opened: {line}",
            hint="check that the folder exists and may be written, or name another database with --db",
        )
    if isinstance(error, IntegrityError):
        return None
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return OutsideError(
            f"the database {shown_url} does not answer: {line}",
            hint="check that the server runs and that host, user and password in --db are right",
        )
    return None


@contextmanager
def driver_errors(shown_url: str) -> Iterator[None]:
    """Raise ``NuwaError`` or ``OutsideError`` in place of a driver's error, where one is known for it."""
    try:
        yield
    except DBAPIError as error:
        named = error_from_driver(error, shown_url)
        if named is None:
            raise
        raise named from error


@contextmanager
def value_errors(shown_url: str) -> Iterator[None]:
    """Raise ``NuwaError`` where a stored value is none of its column: a database is a file that others can write."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NuwaError(
            f"the database {shown_url} holds a value that cannot be read: {said[:200]}",
            hint="nuwa db check looks at all of it; restore the file from a backup, or name another with --db",
        ) from error
