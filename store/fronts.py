"""Mend the fronts that triggers could not keep."""

from sqlalchemy import Connection, delete, insert, literal, select, text

from nuwa_search.core.errors import OutsideError
from nuwa_search.store.database import POSTGRES_SCHEMA, Database
from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.pareto import competing, unbeaten
from nuwa_search.store.tables import LatencyRow
from nuwa_search.store.wanted import ResolvedFilter

# Writers that run now are waited for so long; they write for a moment at a time.
_LOCK_TIMEOUT_MS = 500


def mend_fronts(database: Database) -> None:
    """Find the fronts noted as stale anew and store them; where other writers do not let go, leave it to the next call.

    Stale fronts are answered rightly anyway, only not as quickly.
    """
    try:
        with database.read() as connection:
            is_needed = connection.execute(select(stale_fronts.c.device_pk).limit(1)).first() is not None
        if is_needed:
            with database.write() as connection:
                _mend(connection)
    except OutsideError:
        return  # what the caller stored is safe, and a broken database will show at the next thing it is asked


def _mend(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        # What a writer that is not done yet left out, since it saw the old front, must not be missed.
        connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}"))
        names = f"{POSTGRES_SCHEMA}.nuwa_latencies, {POSTGRES_SCHEMA}.nuwa_subnets"
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
    stale = [(row.device_pk, row.task_pk) for row in connection.execute(select(stale_fronts).distinct())]
    for device_pk, task_pk in stale:
        for table in (fronts, stale_fronts):
            connection.execute(delete(table).where(table.c.device_pk == device_pk, table.c.task_pk == task_pk))
        _store_front(connection, device_pk, task_pk)


def _store_front(connection: Connection, device_pk: int, task_pk: int) -> None:
    """Store the fronts of a device and a task, one for each base."""
    all_of_them = ResolvedFilter(
        device_pks=(device_pk,),
        task_pks=(task_pk,),
        base_pks=None,
        max_ms=None,
        min_top1=None,
        measured_only=False,
        subnet_pks=None,
    )
    group = select(literal(device_pk).label("device_pk"), literal(task_pk).label("task_pk")).subquery("groups")
    points = unbeaten(competing(all_of_them, group).subquery("competing"), by_base=True)
    connection.execute(insert(fronts).from_select([column.name for column in fronts.columns], points))


def mark_all_stale(connection: Connection) -> None:
    """Note every front as stale: after latency rows were written with triggers switched off."""
    connection.execute(delete(stale_fronts))
    pairs = select(LatencyRow.device_pk, LatencyRow.task_pk).distinct()
    connection.execute(insert(stale_fronts).from_select(("device_pk", "task_pk"), pairs))
