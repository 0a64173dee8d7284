"""Run a read-only query that a user wrote."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from nuwa_search.store.database import Database
from nuwa_search.store.sql_postgres import run_on_postgres
from nuwa_search.store.sql_sqlite import run_on_sqlite

# Long enough for any view over a million subnets, short enough to notice an endless query.
DEFAULT_TIMEOUT_S = 10.0
# What fits into memory with room to spare; larger exports go through ``store.subnets``.
DEFAULT_MAX_ROWS = 100_000


@dataclass(frozen=True)
class SqlResult:
    """What a query gave; ``is_truncated`` says that there were more than ``max_rows`` rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_truncated: bool


def run_sql(
    database: Database,
    query: str,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_rows: int = DEFAULT_MAX_ROWS,
) -> SqlResult:
    """Run one SELECT over the views of ``docs/database.md``; it can change nothing and read no other file.

    Args:
        database: The store.
        query: One statement.
        timeout_s: Seconds after which it is stopped.
        max_rows: Rows after which reading stops.

    Returns:
        Values that JSON can hold; both databases give times as ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC.

    Raises:
        NuwaError: If it is not one SELECT, uses a function or a table outside the allowed ones, is
            wrong SQL, or takes too long.
        OutsideError: If the server or disk fails.
    """
    run = run_on_sqlite if database.is_sqlite else run_on_postgres
    columns, rows = run(database, query, timeout_s=timeout_s, max_rows=max_rows + 1)
    kept = tuple(_plain_row(row) for row in rows[:max_rows])
    return SqlResult(columns=columns, rows=kept, is_truncated=len(rows) > max_rows)


def _plain_row(row: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(_plain(value) for value in row)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return _plain(float(value))
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list):  # what PostgreSQL's driver reads of JSON, and SQLite keeps as text
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)
