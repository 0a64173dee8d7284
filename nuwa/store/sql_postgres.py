"""Run a user's query on PostgreSQL, in a transaction that can only read."""

import re
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nuwa.errors import NuwaError, OutsideError
from nuwa.store.database import POSTGRES_SCHEMA, Database
from nuwa.store.failures import driver_errors
from nuwa.store.sql_functions import ALLOWED_FUNCTIONS

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


def run_on_postgres(
    database: Database, query: str, *, timeout_s: float, max_rows: int
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Run one SELECT and return its columns and at most ``max_rows`` rows.

    Raises:
        NuwaError: If it is refused, wrong or stopped.
        OutsideError: If the server fails.
    """
    body = query.strip().rstrip(";").strip()
    check_calls(body)
    with driver_errors(database.shown_url), database.engine.connect() as connection:
        try:
            with connection.begin():
                connection.execute(text("SET TRANSACTION READ ONLY"))
                connection.execute(text(f"SET LOCAL statement_timeout = {max(1, round(timeout_s * 1000))}"))
                connection.execute(text("SET LOCAL standard_conforming_strings = on"))
                driver: Any = connection.connection.driver_connection
                with driver.cursor() as cursor:
                    # Prepared, because the server then refuses a second statement.
                    cursor.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {body}".encode(), prepare=True)
                    check_plan(cursor.fetchone()[0])
                # A cursor takes one SELECT or VALUES and nothing else: no COPY, DO, SET, no second statement.
                with driver.cursor(name="nuwa_sql") as cursor:
                    cursor.execute(body.encode())
                    rows = cursor.fetchmany(max_rows)
                    return tuple(str(column[0]) for column in cursor.description or ()), rows
        except Exception as error:
            named = _named(error, timeout_s)
            if named is None:
                raise
            raise named from error


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
                hint="write one SELECT over the views in docs/database.md",
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
    for i in range(1, len(tokens)):
        before = tokens[i - 1]
        if (
            tokens[i] != "("
            or i - 1 in heads
            or not (before.startswith('"') or before[0].isalpha() or before[0] == "_")
        ):
            continue
        name = before.strip('"').lower()
        if name not in ALLOWED_FUNCTIONS and (before.startswith('"') or name not in _WORDS):
            raise NuwaError(
                f"the query was refused: it may not use the function {name}",
                hint="write one SELECT over the views in docs/database.md",
            )
    if ";" in tokens:
        raise NuwaError("the query was refused: it is more than one statement", hint="send one SELECT at a time")


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
    raise NuwaError("the query was refused: a comment does not end")


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
        return NuwaError(f"the query was stopped after {timeout_s:g} s", hint="narrow it with WHERE or LIMIT")
    if state.startswith(("08", "53", "57", "58")):  # connection, resources, operator, system
        return OutsideError(f"the database server failed: {cause}")
    line = str(cause).splitlines()[0] if str(cause) else state
    return NuwaError(f"the query cannot be run: {line}", hint="write one SELECT over the views in docs/database.md")
