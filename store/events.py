"""What happened in searches and jobs, in order."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, text

from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.records import Event, JsonDict
from nuwa_search.store.rows import need_pk
from nuwa_search.store.tables import EventRow, JobRow, SearchRow

_EVENT_LOCK = 0x6E757765
"""Advisory lock on PostgreSQL; any number that no other lock of the store has."""


def _of_study(study: str) -> ColumnElement[bool]:
    """Pick events of a search, and of the jobs that queued, ran or resumed it."""
    searches = select(SearchRow.pk).where(SearchRow.study == study)
    jobs = select(JobRow.pk).where(JobRow.study == study)
    return or_(EventRow.search_pk.in_(searches), EventRow.job_pk.in_(jobs))


def _of_job(job_id: str) -> ColumnElement[bool]:
    return EventRow.job_pk.in_(select(JobRow.pk).where(JobRow.job_id == job_id))


def _page(whose: ColumnElement[bool], *, after: int, limit: int | None) -> Select[*tuple[Any, ...]]:
    return (
        select(EventRow.pk, EventRow.kind, EventRow.payload, EventRow.created_at)
        .where(whose, EventRow.pk > after)
        .order_by(EventRow.pk)
        .limit(limit)
    )


def insert_event(connection: Connection, values: JsonDict) -> int:
    """Store an event as the last thing that a transaction does, and return its number.

    Readers go on behind the greatest number they know, so numbers must become visible in their order. SQLite has one
    writer at a time; on PostgreSQL, writers of events wait for each other's end.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EVENT_LOCK})
    row = values | {"created_at": utc_now()}
    return connection.execute(insert(EventRow).values(row).returning(EventRow.pk)).scalar_one()


class EventMethods(Database):
    """The store's methods about events."""

    def add_event(self, study: str, kind: str, payload: JsonDict | None = None) -> int:
        """Store that something happened in a search and return the event's number.

        Raises:
            NuwaError: If the study is not recorded.
        """
        with self.write() as connection:
            pk = need_pk(connection, SearchRow.pk, SearchRow.study, study, noun="study")
            return insert_event(connection, {"search_pk": pk, "kind": kind, "payload": payload or {}})

    def add_job_event(self, job_id: str, kind: str, payload: JsonDict | None = None) -> int:
        """Store that something happened to a job and return the event's number.

        Raises:
            NuwaError: If the job is not recorded.
        """
        with self.write() as connection:
            pk = need_pk(connection, JobRow.pk, JobRow.job_id, job_id, noun="job")
            return insert_event(connection, {"job_pk": pk, "kind": kind, "payload": payload or {}})

    def events(self, study: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Read the events of a search and of its jobs, oldest first.

        Args:
            study: Its name; one that is not recorded has no events.
            after: Only events with a greater number, so that a reader goes on where it was.
            limit: At most so many; None for all.
        """
        query = _page(_of_study(study), after=after, limit=limit)
        with self.read() as connection:
            return tuple(Event(pk, study, kind, payload, at) for pk, kind, payload, at in connection.execute(query))

    def job_events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Read the events of one job, oldest first; arguments as for ``events``."""
        query = _page(_of_job(job_id), after=after, limit=limit)
        with self.read() as connection:
            return tuple(Event(pk, "", kind, payload, at) for pk, kind, payload, at in connection.execute(query))

    def latest_events(self, study: str) -> dict[str, Event]:
        """Read the newest event of each kind of a search and its jobs."""
        newest = select(func.max(EventRow.pk)).where(_of_study(study)).group_by(EventRow.kind)
        query = select(EventRow.pk, EventRow.kind, EventRow.payload, EventRow.created_at).where(EventRow.pk.in_(newest))
        with self.read() as connection:
            found = connection.execute(query).all()
        return {kind: Event(pk, study, kind, payload, at) for pk, kind, payload, at in found}
