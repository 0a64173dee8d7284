"""Turn what database drivers raise into errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from nuwa_search.core.errors import NuwaError, OutsideError

# Texts of SQLite's result codes (https://www.sqlite.org/rescode.html); the driver passes them on unchanged.
_NOT_A_DATABASE = ("file is not a database", "malformed", "unsupported file format", "file is encrypted")
_DISK_FULL = ("database or disk is full", "disk quota", "no space left")
_READ_ONLY = ("readonly database", "read-only")
_BUSY = ("database is locked", "database table is locked", "database schema is locked")
_CANNOT_OPEN = ("unable to open database file", "disk i/o error")


def error_from_driver(error: DBAPIError, shown_url: str) -> NuwaError | None:
    """Name the failure of the database at ``shown_url`` (without password); None for a fault of this program."""
    text = str(error.orig).strip() or type(error.orig).__name__
    line, lowered = text.splitlines()[0], text.casefold()
    if any(sign in lowered for sign in _NOT_A_DATABASE):
        return NuwaError(
            f"{shown_url} cannot be read as a search database: {line}",
            hint="name another database with --db, or restore this file from a backup",
        )
    if any(sign in lowered for sign in _DISK_FULL):
        return OutsideError(
            f"no space left to write to the database {shown_url}",
            hint="free some disk space and run the command again; what was saved before is intact",
        )
    if any(sign in lowered for sign in _READ_ONLY):
        return OutsideError(
            f"the database {shown_url} is read-only here", hint="allow writing, or name another with --db"
        )
    if any(sign in lowered for sign in _BUSY):
        return OutsideError(
            f"the database {shown_url} stayed locked by another process",
            hint="wait until the other process is done, or use PostgreSQL for many writers",
        )
    if any(sign in lowered for sign in _CANNOT_OPEN):
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
