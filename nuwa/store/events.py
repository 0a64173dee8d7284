"""What happened in searches, in order."""

from sqlalchemy import insert, select

from nuwa.store.clock import utc_now
from nuwa.store.database import Database
from nuwa.store.records import Event, JsonDict
from nuwa.store.rows import need_pk
from nuwa.store.tables import EventRow, SearchRow


class EventMethods(Database):
    """The store's methods about events."""

    def add_event(self, study: str, kind: str, payload: JsonDict | None = None) -> int:
        """Store that something happened in a search and return the event's number.

        Raises:
            NuwaError: If the study is not recorded.
        """
        with self.write() as connection:
            values = {
                "search_pk": need_pk(connection, SearchRow.pk, SearchRow.study, study, noun="study"),
                "kind": kind,
                "payload": payload or {},
                "created_at": utc_now(),
            }
            return connection.execute(insert(EventRow).values(values).returning(EventRow.pk)).scalar_one()

    def events(self, study: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Read the events of a search, oldest first.

        Args:
            study: Its name; one that is not recorded has no events.
            after: Only events with a greater number, so that a reader goes on where it was.
            limit: At most so many; None for all.
        """
        query = (
            select(EventRow.pk, EventRow.kind, EventRow.payload, EventRow.created_at)
            .join(SearchRow, SearchRow.pk == EventRow.search_pk)
            .where(SearchRow.study == study, EventRow.pk > after)
            .order_by(EventRow.pk)
            .limit(limit)
        )
        with self.read() as connection:
            return tuple(Event(pk, study, kind, payload, at) for pk, kind, payload, at in connection.execute(query))
