"""Run a user's query on PostgreSQL, in a transaction that can only read."""

import re
import time
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.store.database import POSTGRES_SCHEMA, Database
from nuwa_search.store.failures import driver_errors
from nuwa_search.store.sql_functions import ALLOWED_FUNCTIONS
from nuwa_search.store.sql_limits import MAX_ANSWER_BYTES, VIEWS_HINT, stopped, too_large

# PostgreSQL has no hook that sees which functions a query calls, and a superuser's query may read
# files through them. So calls are found in the text, where nothing can hide: a call is a name before
# an opening parenthesis, once comments and quoted text are out of the way.
_TOKEN = re.compile(
    r"""
      (?P<skip> [ \t\r\n\f\v]+ | --[^\r\n]* )
    | (?P<comment> /\* )
    | (?P<refused> [eEuU]&?'[^']* | [uU]&" | \$[A-Za-z_0-9]*\$ )
    | (?P<text> '(?:[^']|'')*' )
    | (?P<quoted> "(?:[^"]|"")*" )
    | (?P<name> [A-Za-z_][A-Za-z_0-9$]* )
    | (?P<other> [!-~] )
    """,
    re.VERBOSE,
)
# Words that may stand before a parenthesis and are no functions.
_PLAIN_WORDS = """
all and any array as between by case char check cross cube decimal distinct else end except exists filter
from group grouping having ilike in inner interval intersect is join lateral like limit materialized
natural not null numeric offset on or order outer over partition range recursive rollup row rows select
sets similar some then time timestamp to union using values varchar when where window with within
"""
_WORDS = frozenset(_PLAIN_WORDS.split())
# Rows read at once and the longest row: what is on its way to this process is 200 MB at most.
_ROWS_AT_ONCE = 100
_MAX_ROW_BYTES = 2_000_000
_TOO_LONG = "nuwa row too long"
# What sorting and hashing may write beside the tables; ten million latency rows take less.
_MAX_TEMP_KB = 2**21
# SQLSTATEs of a value or array above PostgreSQL's own limits, and of the limit on temporary files.
_TOO_MUCH = ("54000", "53400")


def run_on_postgres(
    database: Database, query: str, *, timeout_s: float, max_rows: int
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Run one SELECT and return its columns and at most ``max_rows`` rows.

    Args:
        database: The store.
        query: One SELECT over the views.
        timeout_s: After which it is stopped.
        max_rows: Rows that are returned.

    Raises:
        NuwaError: If it is refused, wrong or stopped.
        OutsideError: If the server fails.
    """
    body = query.strip().rstrip(";").strip()
    check_calls(body)
    deadline = time.monotonic() + timeout_s
    with driver_errors(database.shown_url), database.engine.connect() as connection:
        try:
            with connection.begin():
                connection.execute(text("SET TRANSACTION READ ONLY"))
                connection.execute(text("SET LOCAL standard_conforming_strings = on"))
                connection.execute(text(f"SET LOCAL statement_timeout = {_milliseconds(timeout_s)}"))
                if connection.execute(text("SHOW is_superuser")).scalar() == "on":  # only they may set it
                    connection.execute(text(f"SET LOCAL temp_file_limit = '{_MAX_TEMP_KB}kB'"))
                driver: Any = connection.connection.driver_connection
                with driver.cursor() as cursor:
                    # Prepared, because the server then refuses a second statement.
                    cursor.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {body}".encode(), prepare=True)
                    check_plan(cursor.fetchone()[0])
                # A cursor takes one SELECT or VALUES and nothing else: no COPY, DO, SET, no second statement.
                with driver.cursor(name="nuwa_sql") as cursor:
                    cursor.execute(_without_long_rows(body).encode())
                    return _fetch(cursor, max_rows, deadline, timeout_s)
        except Exception as error:
            named = _named(error, timeout_s)
            if named is None:
                raise
            raise named from error


def _without_long_rows(body: str) -> str:
    """Make a query fail on a row that is too long, before the row is sent: reading it as a number cannot work."""
    row = "CAST(nuwa_row.* AS text)"
    fails = f"CAST(left({row}, 0) || '{_TOO_LONG}' AS integer) = 0"
    is_short = f"CASE WHEN octet_length({row}) > {_MAX_ROW_BYTES} THEN {fails} ELSE true END"
    # It is the user's query that runs, on a cursor that can only read, after its calls and plan were checked.
    return f"SELECT nuwa_row.* FROM (\n{body}\n) AS nuwa_row WHERE {is_short}"  # noqa: S608


def _fetch(
    cursor: Any, max_rows: int, deadline: float, timeout_s: float
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Read rows a few at a time; the server's time limit starts again with each step."""
    rows: list[tuple[Any, ...]] = []
    num_bytes = 0
    while len(rows) < max_rows and (step := cursor.fetchmany(min(max_rows - len(rows), _ROWS_AT_ONCE))):
        rows += step
        num_bytes += sum(_size(value) for row in step for value in row)
        if num_bytes > MAX_ANSWER_BYTES:
            raise too_large()
        if time.monotonic() > deadline:
            raise stopped(timeout_s)
    return tuple(str(column[0]) for column in cursor.description or ()), rows


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(str(value)) if isinstance(value, dict | list) else 8


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def check_plan(plan: Any) -> None:
    """Refuse a plan (``EXPLAIN (VERBOSE, FORMAT JSON)``) that reads anything but our own tables.

    Raises:
        NuwaError: If it does.
    """
    if isinstance(plan, list):
        for part in plan:
            check_plan(part)
    elif isinstance(plan, dict):
        function = str(plan.get("Function Name", ""))
        source = str(plan.get("Relation Name", function))
        if plan.get("Schema", POSTGRES_SCHEMA) != POSTGRES_SCHEMA and function not in ALLOWED_FUNCTIONS:
            raise NuwaError(
                f"the query was refused: it may not read {plan['Schema']}.{source}",
                hint=VIEWS_HINT,
            )
        for part in plan.values():
            check_plan(part)


def check_calls(query: str) -> None:
    """Refuse a query that calls a function outside the allowed ones, or hides text from this check.

    Raises:
        NuwaError: If it does.
    """
    tokens = _tokens(query)
    heads = _cte_heads(tokens)
    for i, token in enumerate(tokens):
        # Views of the server's own tell about other users, and some read no table that the plan would show.
        if token.strip('"').lower().startswith(("pg_", "information_schema")) and not _qualifies_call(tokens, i):
            raise NuwaError(f"the query was refused: it may not use {token}", hint=VIEWS_HINT)
    for i in range(1, len(tokens)):
        before = tokens[i - 1]
        if (
            tokens[i] != "("
            or i - 1 in heads
            or not (before.startswith('"') or before[0].isalpha() or before[0] == "_")
        ):
            continue
        name = before.strip('"').lower()
        if i > 2 and tokens[i - 2] == "." and tokens[i - 3].strip('"').lower() != "pg_catalog":
            raise NuwaError(
                f"the query was refused: it may not use the function {tokens[i - 3]}.{name}", hint=VIEWS_HINT
            )
        if name not in ALLOWED_FUNCTIONS and (before.startswith('"') or name not in _WORDS):
            raise NuwaError(
                f"the query was refused: it may not use the function {name}",
                hint=VIEWS_HINT,
            )
    if ";" in tokens:
        raise NuwaError("the query was refused: it is more than one statement", hint="send one SELECT at a time")


def _qualifies_call(tokens: list[str], i: int) -> bool:
    return (
        tokens[i].strip('"').lower() == "pg_catalog"
        and tokens[i + 1 : i + 2] == ["."]
        and tokens[i + 3 : i + 4] == ["("]
    )


def _tokens(query: str) -> list[str]:
    """Cut a query into names, quoted names, and single characters; text is replaced by ``''``."""
    found: list[str] = []
    position = 0
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None or match.lastgroup == "refused":
            raise NuwaError(
                "the query was refused: outside of '…' and \"…\" it may hold plain ASCII without escapes only",
                hint="write text as '…', a quote in it twice, and other names as \"…\"",
            )
        position = _end_of_comment(query, match.start()) if match.lastgroup == "comment" else match.end()
        if match.lastgroup == "text":
            found.append("''")
        elif match.lastgroup in ("quoted", "name", "other"):
            found.append(match.group())
    return found


def _end_of_comment(query: str, start: int) -> int:
    """Find the end of a comment; PostgreSQL's may be nested."""
    depth = 0
    for match in re.finditer(r"/\*|\*/", query[start:]):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return start + match.end()
    raise NuwaError("the query was refused: a comment does not end", hint="end it with */")


def _cte_heads(tokens: list[str]) -> frozenset[int]:
    """Find where ``name (columns) AS (SELECT …`` stands: a name before a parenthesis that is no call.

    A function in FROM may look alike, ``name (…) AS (column type, …)``, but no column can be called
    ``select`` or ``with``.
    """
    heads = set()
    for i in range(2, len(tokens)):
        if tokens[i] != "(" or tokens[i - 2].lower() not in ("with", "recursive", ",") or ")" not in tokens[i:]:
            continue
        after = [word.lower() for word in tokens[tokens.index(")", i) + 1 :][:6]]
        after = [word for word in after if word not in ("not", "materialized")]
        if after[:2] == ["as", "("] and after[2:3] and after[2] in ("select", "with", "("):
            heads.add(i - 1)
    return frozenset(heads)


def _named(error: Exception, timeout_s: float) -> NuwaError | None:
    """Name what PostgreSQL said, by its SQLSTATE; None for failures that are no fault of the query."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, NuwaError) or state is None:
        return None
    if state == "57014":  # query_canceled
        return stopped(timeout_s)
    if _TOO_LONG in str(cause) or state in _TOO_MUCH:
        return too_large()
    if state.startswith(("08", "53", "57", "58")):  # connection, resources, operator, system
        return OutsideError(f"the database server failed: {cause}", hint="try again when the server is up")
    line = str(cause).splitlines()[0] if str(cause) else state
    return NuwaError(f"the query cannot be run: {line}", hint=VIEWS_HINT)
