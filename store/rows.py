"""Write and find rows by the ids that people and files speak of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.columns import StoreTable

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

# SQLite takes at most 999 bound values per statement where it was built with its old default.
CHUNK_SIZE = 500


def chunks(values: Iterable[T], size: int = CHUNK_SIZE) -> Iterator[list[T]]:
    """Cut ``values`` into lists of at most ``size``."""
    left = iter(values)
    while chunk := list(islice(left, size)):
        yield chunk


def insert_for(connection: Connection, table: type[StoreTable] | Table) -> "sqlite.Insert | postgresql.Insert":
    """Build an insert that may speak of conflicts, in the dialect of ``connection``."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # each dialect takes 30 ms to import, and one of them is never needed

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def upsert(
    connection: Connection,
    table: type[StoreTable],
    rows: Iterable[Mapping[str, Any]],
    *,
    key: Sequence[str],
    update: Sequence[str] = (),
    update_to: Mapping[str, Any] | None = None,
) -> None:
    """Insert rows; where ``key`` is taken, update, or leave the old row if nothing is to be updated.

    Args:
        connection: A transaction that writes.
        table: Where to.
        rows: Column values; all rows with the same columns.
        key: Columns of a unique constraint.
        update: Columns that take the new value.
        update_to: Columns that take the value of an SQL expression; ``excluded(table, name)`` is the new value.
    """
    # Two PostgreSQL transactions that lock the same rows in different orders would stop each other.
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in key))
    if not ordered:
        return
    values = {name: excluded(table, name) for name in update} | dict(update_to or {})
    statement = insert_for(connection, table)
    resolved = (
        statement.on_conflict_do_update(index_elements=key, set_=values)
        if values
        else statement.on_conflict_do_nothing(index_elements=key)
    )
    connection.execute(resolved, ordered)


def excluded(table: type[StoreTable], name: str) -> ColumnElement[Any]:
    """Speak of the value that an upsert wanted to insert (``excluded`` in both databases' SQL)."""
    return literal_column(f"excluded.{name}", table.__table__.c[name].type)


def find_pks(
    connection: Connection,
    pk: InstrumentedAttribute[int],
    text_id: InstrumentedAttribute[str],
    ids: Iterable[str],
) -> dict[str, int]:
    """Map text ids to keys; ids that are not there are left out.

    Args:
        connection: A transaction.
        pk: Column of the keys.
        text_id: Column of the ids.
        ids: To look up.
    """
    found: dict[str, int] = {}
    for chunk in chunks(sorted(set(ids))):
        rows = connection.execute(select(text_id, pk).where(text_id.in_(chunk)))
        found.update((row[0], row[1]) for row in rows)
    return found


def need_pks(
    connection: Connection,
    pk: InstrumentedAttribute[int],
    text_id: InstrumentedAttribute[str],
    ids: Iterable[str],
    *,
    noun: str,
) -> dict[str, int]:
    """Map text ids to keys.

    Args:
        connection: A transaction.
        pk: Column of the keys.
        text_id: Column of the ids.
        ids: To look up.
        noun: What they name, for the error.

    Raises:
        NuwaError: If one is not in the database.
    """
    wanted = set(ids)
    found = find_pks(connection, pk, text_id, wanted)
    missing = sorted(wanted - found.keys())
    if missing:
        raise NuwaError(
            f"the database knows no {noun} {missing[0]!r}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
            hint=f"record the {noun} first, or check which database --db names",
        )
    return found


def need_pk(
    connection: Connection,
    pk: InstrumentedAttribute[int],
    text_id: InstrumentedAttribute[str],
    value: str,
    *,
    noun: str,
) -> int:
    """Find the key of one text id.

    Args:
        connection: A transaction.
        pk: Column of the keys.
        text_id: Column of the ids.
        value: To look up.
        noun: What it names, for the error.

    Raises:
        NuwaError: If it is not in the database.
    """
    return need_pks(connection, pk, text_id, [value], noun=noun)[value]


def optional_pk(
    connection: Connection,
    pk: InstrumentedAttribute[int],
    text_id: InstrumentedAttribute[str],
    value: str | None,
    *,
    noun: str,
) -> int | None:
    """Find the key of one text id; None stays None.

    Args:
        connection: A transaction.
        pk: Column of the keys.
        text_id: Column of the ids.
        value: To look up, or None.
        noun: What it names, for the error.

    Raises:
        NuwaError: If an id is given and not in the database.
    """
    return None if value is None else need_pk(connection, pk, text_id, value, noun=noun)
