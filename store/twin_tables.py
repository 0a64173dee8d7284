"""Tables as two databases have them: ours, and those of Optuna's storage beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import JSON, Column, Connection, MetaData, Table, create_engine, inspect, text
from sqlalchemy.types import UserDefinedType

import nuwa_search.store.tables  # noqa: F401 - importing it fills the metadata
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.columns import StoreTable
from nuwa_search.store.database import Database
from nuwa_search.store.failures import driver_errors
from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.schema import OPTUNA_TABLE

MADE_BY_TRIGGERS = (fronts.name, stale_fronts.name)
"""Written by the database itself when latency rows come in: copied rows would stand there twice."""
_OPTUNA_VERSIONS = ("alembic_version", "version_info")
"""Which version made Optuna's tables; whoever makes them writes it (optuna/storages/_rdb/models.py of Optuna 5.0)."""


class RawJson(UserDefinedType[str]):
    """JSON as its text: what was stored as NULL or ``null``, and the order of keys, stay as they are."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "JSON"


@dataclass(frozen=True)
class TwinTable:
    """One table in both databases, with the same columns.

    Args:
        name: Its name.
        source: As it is read.
        target: As it is written.
        key: Columns of its primary key.
    """

    name: str
    source: Table
    target: Table
    key: tuple[str, ...]


def own_tables() -> list[Table]:
    """List our tables whose rows are copied, those that others point at first."""
    return [table for table in StoreTable.metadata.sorted_tables if table.name not in MADE_BY_TRIGGERS]


def find_study_schema(database: Database) -> tuple[bool, str | None]:
    """Return whether Optuna's tables are in a database, and in which schema (None: SQLite, which has none).

    On PostgreSQL Optuna connects without our ``search_path``, so they lie where a plain connection makes tables.
    """
    if database.is_sqlite:
        with database.read() as connection:
            return inspect(connection).has_table(OPTUNA_TABLE), None
    engine = create_engine(database.url)
    try:
        with driver_errors(database.shown_url), engine.connect() as connection:
            schema = connection.execute(
                text(
                    "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                    "WHERE c.oid = to_regclass(:name)"
                ),
                {"name": OPTUNA_TABLE},
            ).scalar()
    finally:
        engine.dispose()
    return schema is not None, schema


def twin_tables(
    source: Database, target: Database, *, source_connection: Connection, target_connection: Connection
) -> list[TwinTable]:
    """Pair the tables of two databases, those that others point at first.

    Args:
        source: Where rows come from.
        target: Where they go.
        source_connection: A transaction there.
        target_connection: A transaction there.

    Raises:
        NuwaError: If Optuna's tables differ in their columns, which those of two versions do.
    """
    pairs = [
        TwinTable(table.name, plain, plain, tuple(column.name for column in table.primary_key))
        for table in own_tables()
        for plain in (_with_raw_json(table),)
    ]
    has_source, source_schema = find_study_schema(source)
    has_target, target_schema = find_study_schema(target)
    if has_source and has_target:
        pairs += _study_twins(
            _study_tables(source_connection, source_schema), _study_tables(target_connection, target_schema), source
        )
    return pairs


def study_tables_of(database: Database, connection: Connection) -> list[Table]:
    """Reflect Optuna's tables, those that others point at first; empty where there are none."""
    is_there, schema = find_study_schema(database)
    return _study_tables(connection, schema) if is_there else []


def _study_tables(connection: Connection, schema: str | None) -> list[Table]:
    metadata = MetaData()
    names = [
        name
        for name in inspect(connection).get_table_names(schema)
        if name.startswith(("studies", "study_", "trial")) and name not in _OPTUNA_VERSIONS
    ]
    metadata.reflect(connection, schema=schema, only=names)
    return [table for table in metadata.sorted_tables if table.name in names]


def _study_twins(sources: list[Table], targets: list[Table], source: Database) -> Iterator[TwinTable]:
    by_name = {table.name: table for table in targets}
    for table in sources:
        twin = by_name.get(table.name)
        if twin is None or set(twin.c.keys()) != set(table.c.keys()):
            raise NuwaError(
                f"Optuna's table {table.name} in {source.shown_url} is of another version than the one installed here",
                hint=f"optuna storage upgrade --storage {source.shown_url}",
            )
        yield TwinTable(table.name, table, twin, tuple(column.name for column in table.primary_key))


def _with_raw_json(table: Table) -> Table:
    columns = (
        Column(column.name, RawJson() if isinstance(column.type, JSON) else column.type, primary_key=column.primary_key)
        for column in table.columns
    )
    return Table(table.name, MetaData(), *columns)
