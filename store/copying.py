"""Copy a search database into another one of either kind, in batches that may be repeated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, cast, func, select, text, tuple_
from sqlalchemy import Text as TextType
from sqlalchemy.exc import IntegrityError

from nuwa_search.core.counting import count
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.store.database import Database
from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.rows import chunks, insert_for
from nuwa_search.store.twin_tables import RawJson, TwinTable, own_tables, study_tables_of, twin_tables

BATCH_ROWS = 1000
"""Rows of one transaction on the target: an interrupted copy loses at most so many, and few commits are waited for."""

Row = tuple[Any, ...]


@dataclass(frozen=True)
class CopiedTable:
    """What became of one table.

    Args:
        table: Its name.
        rows: Rows in both databases after the copy.
        added: Rows that this copy wrote; the others were there from an earlier one.
    """

    table: str
    rows: int
    added: int


def count_rows(database: Database) -> dict[str, int]:
    """Count the rows of our tables and of Optuna's beside them, by table; those that triggers write are left out."""
    with database.read() as connection:
        found = [*own_tables(), *study_tables_of(database, connection)]
        return {table.name: _num_rows(connection, table) for table in found}


def empty(database: Database) -> None:
    """Delete every row of our tables and of Optuna's studies beside them, in one transaction."""
    with database.write() as connection:
        for table in reversed([*own_tables(), *study_tables_of(database, connection)]):
            connection.execute(table.delete())
        for table in (fronts, stale_fronts):
            connection.execute(table.delete())


def copy_rows(source: Database, target: Database) -> tuple[CopiedTable, ...]:
    """Copy every row of one database into another that has the same tables.

    The source is read in one snapshot; the target is written in batches. A target that holds rows of the source and
    no others, as an interrupted copy leaves them, is completed. Nothing is written where it holds any other row.
    Optuna's tables are copied where both databases have them.

    Args:
        source: Where rows come from.
        target: Where they go; tables are there already.

    Raises:
        NuwaError: If the target holds a row that the source does not.
        OutsideError: If a server or disk fails, or the target is written to by others meanwhile.
    """
    with source.snapshot() as reader:
        with target.read() as there:
            pairs = twin_tables(source, target, source_connection=reader, target_connection=there)
            totals = {pair.name: _num_rows(reader, pair.source) for pair in pairs}
            known = {pair.name: _num_rows(there, pair.target) for pair in pairs}
            for pair in pairs:
                if known[pair.name]:
                    _require_rows_of(pair, reader, there, target)
        done, all_rows = sum(known.values()), sum(totals.values())
        added = {}
        for pair in pairs:
            added[pair.name] = 0
            for batch in _batches(reader, pair):
                num_new = _write(target, pair, batch, may_be_there=known[pair.name] > 0)
                added[pair.name] += num_new
                done += num_new
                count("rows", done, all_rows)
    with target.write() as connection:
        if not target.is_sqlite:
            _advance_numbers(connection, pairs)
        there_now = {pair.name: _num_rows(connection, pair.target) for pair in pairs}
    for pair in pairs:
        if there_now[pair.name] != totals[pair.name]:
            raise OutsideError(
                f"{target.shown_url} has {there_now[pair.name]} rows of {pair.name} after the copy, and "
                f"{totals[pair.name]} were read: another process wrote there meanwhile",
                hint="stop what writes to it, and copy again with --replace",
            )
    return tuple(CopiedTable(pair.name, totals[pair.name], added[pair.name]) for pair in pairs)


def _num_rows(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _selected(table: Table, names: Sequence[str] | None = None) -> Select[Any]:
    """Select every column (in the order of ``names``), JSON as its text, in the order of the key."""
    columns = [table.c[name] for name in names or table.c.keys()]
    shown = [cast(c, TextType).label(c.name) if isinstance(c.type, RawJson) else c for c in columns]
    return select(*shown).order_by(*table.primary_key.columns)


def _batches(connection: Connection, pair: TwinTable) -> Iterator[Sequence[Row]]:
    """Read a table of the source by batches, in the order of its key."""
    found = connection.execute(_selected(pair.source).execution_options(yield_per=BATCH_ROWS))
    for rows in found.partitions():
        yield [tuple(row) for row in rows]


def _write(target: Database, pair: TwinTable, rows: Sequence[Row], *, may_be_there: bool) -> int:
    """Write the rows that are not there yet, in one transaction, and return how many these were."""
    names = pair.source.c.keys()
    try:
        with target.write() as connection:
            known = _keys_there(connection, pair, rows) if may_be_there else frozenset()
            new = [row for row in rows if _key(pair, names, row) not in known]
            if new:
                connection.execute(
                    insert_for(connection, pair.target), [dict(zip(names, row, strict=True)) for row in new]
                )
    except IntegrityError as error:
        raise OutsideError(
            f"a row of {pair.name} was written to {target.shown_url} by another process during the copy",
            hint="stop what writes to it, and copy again with --replace",
        ) from error
    return len(new)


def _key(pair: TwinTable, names: Sequence[str], row: Row) -> Row:
    return tuple(row[names.index(name)] for name in pair.key)


def _keys_there(connection: Connection, pair: TwinTable, rows: Sequence[Row]) -> frozenset[Row]:
    """Return which keys the target has between the first and the last of these rows."""
    names = pair.source.c.keys()
    low, high = _key(pair, names, rows[0]), _key(pair, names, rows[-1])
    columns = [pair.target.c[name] for name in pair.key]
    return frozenset(tuple(row) for row in connection.execute(select(*columns).where(_between(columns, low, high))))


def _between(columns: Sequence[Any], low: Row, high: Row) -> Any:
    if len(columns) == 1:
        return columns[0].between(low[0], high[0])
    return and_(tuple_(*columns) >= tuple_(*low), tuple_(*columns) <= tuple_(*high))


def _require_rows_of(pair: TwinTable, reader: Connection, there: Connection, target: Database) -> None:
    """Refuse a target with a row that the source has not, or has otherwise."""
    names = pair.source.c.keys()
    found = there.execute(_selected(pair.target, names).execution_options(yield_per=BATCH_ROWS))
    key = [pair.source.c[name] for name in pair.key]
    for batch in chunks((tuple(row) for row in found), BATCH_ROWS):
        low, high = _key(pair, names, batch[0]), _key(pair, names, batch[-1])
        mine = {tuple(row) for row in reader.execute(_selected(pair.source).where(_between(key, low, high)))}
        for row in batch:
            if row not in mine:
                shown = ", ".join(f"{n} {v}" for n, v in zip(pair.key, _key(pair, names, row), strict=True))
                raise NuwaError(
                    f"{target.shown_url} is not empty, and not the beginning of this copy: the row of {pair.name} with "
                    f"{shown} is not the source's",
                    hint="name an empty database, or empty this one first with --replace",
                )


def _advance_numbers(connection: Connection, pairs: Sequence[TwinTable]) -> None:
    """Let PostgreSQL number new rows behind the copied ones; SQLite does so by itself."""
    for pair in pairs:
        if len(pair.key) != 1:
            continue
        (key,) = pair.key
        name = pair.target.fullname
        numbers = connection.execute(
            text("SELECT pg_get_serial_sequence(:name, :key)"), {"name": name, "key": key}
        ).scalar()
        if numbers is not None:
            connection.execute(
                text(f"SELECT setval(CAST(:numbers AS regclass), max({key})) FROM {name} HAVING count(*) > 0"),  # noqa: S608 - names of tables and columns
                {"numbers": numbers},
            )
