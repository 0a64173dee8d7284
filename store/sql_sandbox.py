"""The program of the process that runs a user's query on SQLite; it imports nothing of this package.

Reads one JSON document on stdin, writes one on stdout. A process of its own, because SQLite can be asked
to interrupt a query but not a function inside it: searching one long text for another (``instr``) can take
hours, and only a process can be ended and held to an amount of memory whatever it is doing.
"""

import json
import math
import sqlite3
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
# Virtual machine steps between two looks at the clock; a step takes about 0.1 µs, so a look every 1 ms.
_STEPS_PER_LOOK = 10_000
_BUSY_TIMEOUT_S = 5.0
# Processor time past the time limit: more than the caller waits, who ends this process and says why; the
# limit is for the case that the caller is gone.
CPU_GRACE_S = 10


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    try:
        _limit(request["max_memory_bytes"], request["timeout_s"])
        answer = _run(request)
    except MemoryError:
        answer = {"fault": "memory"}
    sys.stdout.write(json.dumps(answer))


def _limit(max_memory_bytes: int, timeout_s: float) -> None:
    """Hold this process to memory, temporary files and processor time, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (
        (resource.RLIMIT_AS, max_memory_bytes),
        (resource.RLIMIT_FSIZE, max_memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(timeout_s) + CPU_GRACE_S),
    ):
        _, hard = resource.getrlimit(kind)
        with suppress(ValueError, OSError):  # some systems have the name of a limit and refuse to set it
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _run(request: dict[str, Any]) -> dict[str, Any]:
    refused: list[str] = []
    functions = frozenset(request["functions"])
    tables = tuple(request["tables"])
    deadline = time.monotonic() + request["timeout_s"]

    def authorize(action: int, first: str | None, second: str | None, _schema: str | None, _via: str | None) -> int:
        # Without a column it may be a WITH table, or the counting of rows, which tells nothing.
        if action == sqlite3.SQLITE_READ and second and not (first or "").startswith(tables):
            refused.append(f"the table {first}")
            return sqlite3.SQLITE_DENY
        if action in _READING:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            if (second or "").lower() in functions:
                return sqlite3.SQLITE_OK
            refused.append(f"the function {second}")
        else:
            refused.append("anything but reading" if first is None else f"anything but reading (it touches {first})")
        return sqlite3.SQLITE_DENY

    try:
        connection = sqlite3.connect(f"file:{quote(request['path'])}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, request["max_value_bytes"])
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_LOOK)
        cursor = connection.execute(request["query"])
        if cursor.description is None:
            return {"fault": "no rows"}
        return _read(cursor, request["max_rows"], request["max_bytes"])
    except (sqlite3.Error, sqlite3.Warning) as error:
        if refused:
            return {"fault": "refused", "what": refused[0]}
        return {"fault": "error", "what": str(error), "code": getattr(error, "sqlite_errorcode", 0) & 0xFF}


def _read(cursor: sqlite3.Cursor, max_rows: int, max_bytes: int) -> dict[str, Any]:
    rows: list[list[Any]] = []
    num_bytes = 0
    while len(rows) < max_rows and (row := cursor.fetchone()) is not None:
        values = [value.hex() if isinstance(value, bytes) else value for value in row]
        num_bytes += sum(len(value) if isinstance(value, str) else 8 for value in values)
        if num_bytes > max_bytes:
            return {"fault": "size"}
        rows.append(
            [str(value) if isinstance(value, float) and not math.isfinite(value) else value for value in values]
        )
    return {"columns": [column[0] for column in cursor.description], "rows": rows}


if __name__ == "__main__":
    main()
