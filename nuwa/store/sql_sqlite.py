"""Run a user's query on SQLite, on a connection of its own that can only read."""

import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nuwa.errors import NuwaError, OutsideError
from nuwa.store.database import Database
from nuwa.store.sql_functions import ALLOWED_FUNCTIONS

# Our tables and views, the two table functions for JSON, and the list of tables.
_OUR_TABLES = ("nuwa_", "v_", "json_each", "json_tree", "sqlite_master", "sqlite_schema")
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
# Virtual machine steps between two looks at the clock; a step takes about 0.1 µs, so a look every 1 ms.
_STEPS_PER_LOOK = 10_000
# The longest value a query may build; the longest that is stored (an arch, a certificate) is far shorter.
_MAX_VALUE_BYTES = 10_000_000
_BUSY_TIMEOUT_S = 5.0


def run_on_sqlite(
    database: Database, query: str, *, timeout_s: float, max_rows: int
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Run one SELECT and return its columns and at most ``max_rows`` rows.

    Raises:
        NuwaError: If it is refused, wrong or stopped.
        OutsideError: If the file cannot be read.
    """
    path = Path(database.url.database or "").resolve()
    refused: list[str] = []
    deadline = time.monotonic() + timeout_s

    def authorize(action: int, first: str | None, second: str | None, _schema: str | None, _via: str | None) -> int:
        # Without a column it may be a WITH table, or the counting of rows, which tells nothing.
        if action == sqlite3.SQLITE_READ and second and not (first or "").startswith(_OUR_TABLES):
            refused.append(f"the table {first}")
            return sqlite3.SQLITE_DENY
        if action in _READING:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            if (second or "").lower() in ALLOWED_FUNCTIONS:
                return sqlite3.SQLITE_OK
            refused.append(f"the function {second}")
        else:
            refused.append("anything but reading" if first is None else f"anything but reading (it touches {first})")
        return sqlite3.SQLITE_DENY

    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise OutsideError(f"the database {path} cannot be opened for reading: {error}") from error
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_LOOK)
        cursor = connection.execute(query)
        if cursor.description is None:
            raise NuwaError("the query gives no rows", hint="write one SELECT over the views in docs/database.md")
        return tuple(str(column[0]) for column in cursor.description), cursor.fetchmany(max_rows)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _named(error, refused, timeout_s) from error
    finally:
        connection.close()


def _named(error: Exception, refused: list[str], timeout_s: float) -> NuwaError:
    if refused:
        return NuwaError(
            f"the query was refused: it may not use {refused[0]}",
            hint="write one SELECT over the views in docs/database.md",
        )
    if "interrupted" in str(error):
        return NuwaError(f"the query was stopped after {timeout_s:g} s", hint="narrow it with WHERE or LIMIT")
    if "disk I/O error" in str(error) or "locked" in str(error):
        return OutsideError(f"the database could not be read: {error}")
    return NuwaError(f"the query cannot be run: {error}", hint="write one SELECT over the views in docs/database.md")
