"""Failures of databases are told by the driver's codes."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nuwa_search.core.errors import OutsideError
from nuwa_search.store.failures import code_of, error_from_driver, is_already_made, is_busy
from nuwa_search.store.store import Store


def test_what_is_there_already_is_told(store: Store) -> None:
    with pytest.raises((DBAPIError, OutsideError)) as raised, store.write() as connection:
        connection.execute(text("CREATE TABLE nuwa_workers (pk INTEGER)"))
    cause = raised.value if isinstance(raised.value, DBAPIError) else raised.value.__cause__
    assert cause is not None
    assert is_already_made(cause)
    assert not is_busy(cause)


def test_what_others_made_meanwhile_is_told() -> None:
    raw = sqlite3.OperationalError("table studies already exists")
    raw.sqlite_errorcode = sqlite3.SQLITE_SCHEMA  # seen where four processes make the same tables at once
    assert is_already_made(DBAPIError("CREATE TABLE", None, raw))


def test_a_lock_is_told(tmp_path: Path) -> None:
    first, second = (sqlite3.connect(tmp_path / "one.sqlite", timeout=0, isolation_level=None) for _ in range(2))
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as raised:
        second.execute("BEGIN IMMEDIATE")
    assert is_busy(raised.value)
    assert not is_already_made(raised.value)
    named = error_from_driver(DBAPIError("BEGIN", None, raised.value), "sqlite:///one.sqlite")
    assert named is not None
    assert (named.exit_code, "stayed locked" in named.message) == (3, True)
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        (sqlite3.SQLITE_NOTADB, 2, "cannot be read as a search database"),
        (sqlite3.SQLITE_CORRUPT_INDEX, 2, "cannot be read as a search database"),
        (sqlite3.SQLITE_FULL, 3, "no space left"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, 3, "read-only"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, 3, "stayed locked"),
        (sqlite3.SQLITE_IOERR_WRITE, 3, "cannot be opened"),
        (sqlite3.SQLITE_CANTOPEN, 3, "cannot be opened"),
    ],
)
def test_codes_are_named_whatever_the_words(code: int, exit_code: int, words: str) -> None:
    raw = sqlite3.OperationalError("words of another release")
    raw.sqlite_errorcode = code
    assert code_of(raw) == code & 0xFF
    named = error_from_driver(DBAPIError("SELECT", None, raw), "sqlite:///x")
    assert named is not None
    assert (named.exit_code, words in named.message) == (exit_code, True)


@pytest.mark.parametrize(("state", "words"), [("53100", "no space left"), ("25006", "read-only"), ("55P03", "locked")])
def test_states_of_postgresql_are_named(state: str, words: str) -> None:
    class ServerError(Exception):
        sqlstate = state

    named = error_from_driver(DBAPIError("SELECT", None, ServerError("auf Deutsch")), "postgresql://x")
    assert named is not None
    assert words in named.message
