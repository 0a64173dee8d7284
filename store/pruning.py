"""Delete what is old and needed by nothing: searches without a bundle, subnets that no front holds, jobs, workers.

What stays whatever its age: a subnet with a certificate, a bundle, an export, a fine-tuning or a measurement; one that
stands on a front of accuracy against latency; one of a task that a search works on or may go on with; one scored or
priced lately. A search stays whole (its events and Optuna's study too) with any subnet that stays, and where its answer
names a bundle. Devices, latency tables, predictors, measurements, bases and tasks always stay.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select

from nuwa_search.core.errors import NoAnswerError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.fronts import mend_fronts
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.rows import chunks
from nuwa_search.store.tables import (
    ArchRow,
    BaseNetRow,
    CertificateRow,
    EventRow,
    ExportRow,
    FinetuningRow,
    JobRow,
    LatencyRow,
    MeasurementRow,
    ScoreRow,
    SearchRow,
    SubnetRow,
    WorkerRow,
)
from nuwa_search.store.twin_tables import study_tables_of

_ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class Pruned:
    """What goes, or went.

    Args:
        rows: By table; Optuna's are among them.
        studies: Names of the searches that go whole.
        kept: Old searches that stay, by why.
    """

    rows: dict[str, int]
    studies: tuple[str, ...]
    kept: dict[str, int]

    @property
    def num_rows(self) -> int:
        return sum(self.rows.values())


@dataclass(frozen=True)
class _Doomed:
    """Keys of the rows that go."""

    subnets: Sequence[int]
    archs: Sequence[int]
    searches: Sequence[int]
    studies: tuple[str, ...]
    jobs: Sequence[int]
    workers: Sequence[int]
    kept: dict[str, int]


def plan_prune(database: Database, *, before: datetime) -> Pruned:
    """Return what ``prune`` would delete; nothing is changed but fronts that were noted as stale.

    Args:
        database: The store.
        before: Only what is older.

    Raises:
        NoAnswerError: If a search is running whose task is not known yet.
    """
    mend_fronts(database)
    with database.read() as connection:
        doomed = _find(connection, before)
        studies = study_tables_of(database, connection)
        rows = {
            table.name: sum(
                connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
                for where in conditions
            )
            for table, conditions in _conditions(doomed, studies)
        }
    return Pruned(_some(rows), doomed.studies, doomed.kept)


def prune(database: Database, *, before: datetime) -> Pruned:
    """Delete in one transaction what is older than ``before`` and needed by nothing.

    Raises:
        NoAnswerError: If a search is running whose task is not known yet.
        OutsideError: If the server or disk fails, or another writer does not let go.
    """
    mend_fronts(database)
    rows: dict[str, int] = {}
    with database.write() as connection:
        doomed = _find(connection, before)
        for table, conditions in _conditions(doomed, study_tables_of(database, connection)):
            rows[table.name] = sum(connection.execute(delete(table).where(where)).rowcount for where in conditions)
    return Pruned(_some(rows), doomed.studies, doomed.kept)


def give_back_space(database: Database) -> bool:
    """Make a SQLite file as small as its rows; False where another process is at work on it or the disk is too full.

    On PostgreSQL the server's autovacuum does so.
    """
    if not database.is_sqlite:
        return True
    connection = database.engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def _some(rows: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in rows.items() if number}


def _find(connection: Connection, before: datetime) -> _Doomed:
    """Find the keys of everything that goes."""
    old, tasks = _old_searches(connection, before)
    subnets = _old_subnets(connection, old, tasks, before)
    going = set(subnets)
    shipped, needed = 0, 0
    searches, studies = [], []
    for pk, study, result in old:
        mine = connection.execute(select(SubnetRow.pk).where(SubnetRow.search_pk == pk)).scalars()
        if ((result or {}).get("artifacts") or {}).get("dir"):
            shipped += 1
        elif not going.issuperset(mine):
            needed += 1
        else:
            searches.append(pk)
            studies.append(study)
    jobs = (
        select(JobRow.pk, JobRow.study)
        .where(JobRow.state.not_in(_ACTIVE), JobRow.finished_at < before)
        .order_by(JobRow.pk)
    )
    known = set(connection.execute(select(SearchRow.study)).scalars()) - set(studies)
    return _Doomed(
        subnets=subnets,
        archs=_lonely_archs(connection, going),
        searches=searches,
        studies=tuple(studies),
        jobs=[pk for pk, study in connection.execute(jobs) if study not in known],
        workers=connection.execute(select(WorkerRow.pk).where(WorkerRow.heartbeat_at < before)).scalars().all(),
        kept=_some({"with a bundle": shipped, "with subnets that are needed": needed}),
    )


def _old_searches(connection: Connection, before: datetime) -> tuple[list[tuple[int, str, Any]], set[int]]:
    """Return the searches that are over and old, and the tasks of those that run or may go on."""
    query = select(
        *(SearchRow.pk, SearchRow.study, SearchRow.state, SearchRow.task_pk, SearchRow.result, SearchRow.owner_host),
        *(SearchRow.owner_pid, SearchRow.heartbeat_at, SearchRow.finished_at, SearchRow.created_at),
    ).order_by(SearchRow.pk)
    queued = set(connection.execute(select(JobRow.study).where(JobRow.state.in_(_ACTIVE))).scalars())
    now = utc_now()
    old, tasks = [], set()
    for row in connection.execute(query):
        is_alive = row.state == "running" and is_owner_alive(
            host=row.owner_host, pid=row.owner_pid, heartbeat_at=row.heartbeat_at, now=now
        )
        last = row.finished_at or row.heartbeat_at or row.created_at
        if not is_alive and row.study not in queued and last < before:
            old.append((row.pk, row.study, row.result))
            continue
        if is_alive and row.task_pk is None:
            raise NoAnswerError(
                f"search {row.study!r} has just begun, and what it needs is not known yet",
                hint="prune again in a few minutes",
            )
        if row.task_pk is not None and (is_alive or row.study in queued or row.state in ("running", "interrupted")):
            tasks.add(row.task_pk)
    return old, tasks


def _old_subnets(
    connection: Connection, old: Sequence[tuple[int, str, Any]], tasks: set[int], before: datetime
) -> list[int]:
    """Return the subnets of old searches that nothing needs."""
    stale = set(connection.execute(select(stale_fronts.c.task_pk)).scalars())  # whose fronts are not known now
    found: list[int] = []
    for chunk in chunks(pk for pk, _, _ in old):
        query = select(SubnetRow.pk, SubnetRow.task_pk).where(
            SubnetRow.search_pk.in_(chunk), SubnetRow.created_at < before, SubnetRow.bundle_dir.is_(None)
        )
        for table in (CertificateRow, ExportRow, FinetuningRow, MeasurementRow):
            query = query.where(~exists().where(table.subnet_pk == SubnetRow.pk))
        query = query.where(
            ~exists().where(fronts.c.subnet_pk == SubnetRow.pk),
            ~exists().where(ScoreRow.subnet_pk == SubnetRow.pk, ScoreRow.created_at >= before),
            ~exists().where(LatencyRow.subnet_pk == SubnetRow.pk, LatencyRow.updated_at >= before),
        )
        found += [pk for pk, task_pk in connection.execute(query) if task_pk not in tasks | stale]
    return found


def _lonely_archs(connection: Connection, going: set[int]) -> list[int]:
    """Return the archs that nothing but these subnets has."""
    archs: set[int] = set()
    for chunk in chunks(sorted(going)):
        archs.update(connection.execute(select(SubnetRow.arch_pk).where(SubnetRow.pk.in_(chunk))).scalars())
    for chunk in chunks(sorted(archs)):
        shared = connection.execute(select(SubnetRow.pk, SubnetRow.arch_pk).where(SubnetRow.arch_pk.in_(chunk)))
        archs -= {arch_pk for pk, arch_pk in shared if pk not in going}
        for column in (MeasurementRow.arch_pk, BaseNetRow.arch_pk):
            archs.difference_update(connection.execute(select(column).where(column.in_(chunk))).scalars())
    return sorted(archs)


def _conditions(doomed: _Doomed, studies: Sequence[Table]) -> Iterable[tuple[Any, list[ColumnElement[bool]]]]:
    """Yield each table with the rows that go, those that point at others first."""

    def within(column: Any, keys: Sequence[int]) -> list[ColumnElement[bool]]:
        return [column.in_(chunk) for chunk in chunks(keys)]

    yield LatencyRow.__table__, within(LatencyRow.subnet_pk, doomed.subnets)
    yield ScoreRow.__table__, within(ScoreRow.subnet_pk, doomed.subnets)
    yield SubnetRow.__table__, within(SubnetRow.pk, doomed.subnets)
    yield ArchRow.__table__, within(ArchRow.pk, doomed.archs)
    # an event belongs to a search or to a job, never to both
    yield (
        EventRow.__table__,
        [*within(EventRow.search_pk, doomed.searches), *within(EventRow.job_pk, doomed.jobs)],
    )
    yield JobRow.__table__, within(JobRow.pk, doomed.jobs)
    yield SearchRow.__table__, within(SearchRow.pk, doomed.searches)
    yield WorkerRow.__table__, within(WorkerRow.pk, doomed.workers)
    by_name = {table.name: table for table in studies}
    for table in reversed(studies):
        yield table, [_of_studies(table, by_name, chunk) for chunk in chunks(doomed.studies)]


def _of_studies(table: Table, by_name: dict[str, Table], names: Sequence[str]) -> ColumnElement[bool]:
    """Pick the rows of one of Optuna's tables that belong to studies of these names."""
    studies, trials = by_name["studies"], by_name["trials"]
    ids = select(studies.c.study_id).where(studies.c.study_name.in_(names))
    if "study_id" in table.c:
        return table.c.study_id.in_(ids)
    return table.c.trial_id.in_(select(trials.c.trial_id).where(trials.c.study_id.in_(ids)))
