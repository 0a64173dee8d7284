"""The connection to one database: SQLite or PostgreSQL, reading and writing transactions."""

import functools
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import expanded
from nuwa_search.core.interrupts import interrupt_deferred
from nuwa_search.store.failures import driver_errors, value_errors

# How long a writer waits for another one. Our longest write (a batch of scores) takes well under a
# second, so half a minute only passes when a process hangs inside a transaction.
BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
POSTGRES_SCHEMA = "nuwa"
# Of SQLite's pages, per connection and only as far as pages are touched. A front of 20 000 points is looked up on tens
# of thousands of them, scattered; SQLite's own 2 MB would read the upper levels of each table's tree over and over.
_CACHE_KIB = 64 * 1024


def url_from_text(text: str) -> URL:
    """Read ``sqlite:///path``, ``postgresql://…`` or a plain path.

    Raises:
        NuwaError: If it is empty, not a URL, or of another database.
    """
    if not text.strip():
        raise NuwaError("no database was named", hint="give --db PATH, or --db postgresql://USER@HOST/NAME")
    if "://" not in text:
        return URL.create("sqlite", database=str(expanded(text)))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise NuwaError("the database URL cannot be read", hint="write it as postgresql://USER@HOST/NAME") from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise NuwaError("a search database needs a file", hint="write --db sqlite:///path/to/nuwa.sqlite")
        return url.set(drivername="sqlite", database=str(expanded(url.database)))
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise NuwaError(
        f"no search database can live in {backend!r}", hint="use sqlite:///PATH or postgresql://USER@HOST/NAME"
    )


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _prepare_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late to protect reads and DDL
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA synchronous = NORMAL")  # with WAL: a killed process loses nothing committed


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that writes takes its lock at once: one that reads first and upgrades later is
    # refused without waiting when another process wrote in between.
    writes = connection.get_execution_options().get("nuwa_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _read_only_uri(path: Path) -> str | None:
    """Return how SQLite opens a file in a folder that cannot be written; None where it can be.

    A database in WAL mode needs a file beside it for its readers (https://www.sqlite.org/wal.html#readonly). Where
    none can be made it is read as one that nobody changes, and where its log lies beside it, with that.
    """
    if not path.is_file() or os.access(path.parent, os.W_OK):
        return None
    has_log = path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"


def engine_from_url(url: URL) -> Engine:
    """Build the engine without connecting.

    Raises:
        NuwaError: If the driver for PostgreSQL is not installed.
        OutsideError: If the folder of a SQLite file cannot be made.
    """
    if url.get_backend_name() == "sqlite":
        folder = Path(url.database or "").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutsideError(
                f"the folder {folder} for the database cannot be made: {error.strerror}",
                hint="name a place that can be written with --db",
            ) from error
        connect = _read_only_uri(Path(url.database or ""))
        connect_args: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S}
        if connect is None:
            engine = create_engine(url, connect_args=connect_args, json_serializer=_dump_json)
        else:
            opened = functools.partial(sqlite3.connect, connect, uri=True, check_same_thread=False, **connect_args)
            engine = create_engine(url, creator=opened, json_serializer=_dump_json)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    given = url.query.get("options", "")
    options = " ".join(given) if isinstance(given, tuple) else given
    connect_args = {
        "options": f"{options} -c search_path={POSTGRES_SCHEMA} -c timezone=UTC".strip(),
        "connect_timeout": CONNECT_TIMEOUT_S,
    }
    try:
        return create_engine(url, connect_args=connect_args, json_serializer=_dump_json, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise NuwaError(
            "PostgreSQL needs the driver psycopg, which is not installed",
            hint="pip install 'nuwa-search[postgres]'",
        ) from error


class Database:
    """Transactions on one database; the methods of the store are built on it.

    Args:
        url: Where it is.
        engine: Connections to it.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.backup_path: Path | None = None
        """Copy of a SQLite file that opening it made before it brought the tables to this version."""
        self._writer = engine.execution_options(nuwa_writes=True)

    @property
    def shown_url(self) -> str:
        """Return where it is, without the password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def command_url(self) -> str:
        """Return where it is as ``--db`` takes it from any folder, without the password."""
        return str(Path(self.url.database or "").absolute()) if self.is_sqlite else self.shown_url

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads.

        Raises:
            NuwaError: If the file is not a database, or holds values that are none of its columns'.
            OutsideError: If the server or disk fails.
        """
        with value_errors(self.shown_url), driver_errors(self.shown_url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that sees the database as it was at its first question, for reading all of it.

        Raises:
            NuwaError: If the file is not a database, or holds values that are none of its columns'.
            OutsideError: If the server or disk fails.
        """
        with value_errors(self.shown_url), driver_errors(self.shown_url), self.engine.connect() as connection:
            if not self.is_sqlite:  # whose transactions are snapshots anyway
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes; it is stored whole on leaving, or not at all on an error.

        Ctrl-C waits until it is over.

        Raises:
            NuwaError: If the file is not a database.
            OutsideError: If the server or disk fails, or another writer does not let go.
        """
        with interrupt_deferred(is_breakable=True), driver_errors(self.shown_url), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
