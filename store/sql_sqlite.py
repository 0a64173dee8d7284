"""Run a user's query on SQLite: in a process of its own, on a connection that can only read."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.store.database import Database
from nuwa_search.store.sql_functions import ALLOWED_FUNCTIONS
from nuwa_search.store.sql_limits import MAX_ANSWER_BYTES, MAX_VALUE_BYTES, VIEWS_HINT, stopped, too_large

# Our tables and views, the two table functions for JSON, and the list of tables.
_OUR_TABLES = ("nuwa_", "v_", "json_each", "json_tree", "sqlite_master", "sqlite_schema")
# Memory of the process, and of one temporary file: sorting ten million latency rows stays below.
_MAX_MEMORY_BYTES = 2 * 2**30
# For the process to start and stop around the query; it is ended after that.
_GRACE_S = 2.0
# Primary result codes (https://www.sqlite.org/rescode.html).
_TOO_MUCH = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM})
_OUTSIDE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN})
_PROGRAM = str(Path(__file__).with_name("sql_sandbox.py"))


def run_on_sqlite(
    database: Database, query: str, *, timeout_s: float, max_rows: int
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Run one SELECT and return its columns and at most ``max_rows`` rows.

    Args:
        database: The store.
        query: One SELECT over the views.
        timeout_s: After which it is stopped.
        max_rows: Rows that are returned.

    Raises:
        NuwaError: If it is refused, wrong, stopped or too large.
        OutsideError: If the file cannot be read.
    """
    request = {
        "path": str(Path(database.url.database or "").resolve()),
        "query": query,
        "timeout_s": timeout_s,
        "max_rows": max_rows,
        "functions": sorted(ALLOWED_FUNCTIONS),
        "tables": _OUR_TABLES,
        "max_value_bytes": MAX_VALUE_BYTES,
        "max_bytes": MAX_ANSWER_BYTES,
        "max_memory_bytes": _MAX_MEMORY_BYTES,
    }
    try:
        # Isolated and without site-packages: starts in 20 ms, and no module of the user's folder gets in.
        done = subprocess.run(
            [sys.executable, "-I", "-S", _PROGRAM],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout_s + _GRACE_S,
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise stopped(timeout_s) from error
    except ValueError as error:  # the system ended it: too much memory or processor time
        raise too_large() from error
    except OSError as error:
        raise OutsideError(
            f"no process could be started for the query: {error.strerror}", hint="close other programs, or try again"
        ) from error
    if "fault" in answer:
        raise _named(answer["fault"], str(answer.get("what", "")), answer.get("code"), timeout_s)
    return tuple(answer["columns"]), [tuple(row) for row in answer["rows"]]


def _named(fault: str, what: str, code: int | None, timeout_s: float) -> NuwaError:
    if fault == "refused":
        return NuwaError(f"the query was refused: it may not use {what}", hint=VIEWS_HINT)
    if fault == "no rows":
        return NuwaError("the query gives no rows", hint=VIEWS_HINT)
    if fault in ("size", "memory") or code in _TOO_MUCH:
        return too_large()
    if code == sqlite3.SQLITE_INTERRUPT:
        return stopped(timeout_s)
    if code in _OUTSIDE:
        return OutsideError(f"the database could not be read: {what}", hint="try again when the disk and file are free")
    return NuwaError(f"the query cannot be run: {what}", hint=VIEWS_HINT)
