"""Server-sent events out of the database: whoever comes back goes on where it was."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from nuwa_search.service.api.metrics import Metrics
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.releasing import ReleasingResponse
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.study_view import FINAL, event_row
from nuwa_search.store.records import Event

BATCH = 500

ReadEvents = Callable[[int], Sequence[Event]]
ReadState = Callable[[], str]


def last_event_id(request: Request, after: int) -> int:
    """Read the number of the last event that a client received: header ``Last-Event-ID``, else the parameter."""
    given = request.headers.get("last-event-id", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else after


class EventStreams:
    """Opens event streams, as many as may be open at once.

    Args:
        settings: Settings of the service.
        metrics: Counts open streams.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._open = 0
        self._counting = threading.Lock()
        self._is_closing = False

    def close(self) -> None:
        """End all streams soon: the service stops, and clients come back to its successor."""
        self._is_closing = True

    def respond(self, read: ReadEvents, state: ReadState, *, after: int) -> Response:
        """Answer with the events behind ``after``, and with those to come; 204 where none can come.

        Args:
            read: Reads at most ``BATCH`` events behind a number.
            state: Reads the state of what they are about.
            after: Number of the last event that the client knows.

        Raises:
            HttpError: 503, if too many streams are open.
        """
        if state() in FINAL and after and not read(after):
            return Response(status_code=204)
        self._take_place()
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return ReleasingResponse(
            self._chunks(read, state, after),
            release=self._give_place,
            media_type="text/event-stream; charset=utf-8",
            headers=headers,
        )

    def _take_place(self) -> None:
        with self._counting:  # counted before the first byte: streams that are asked for at once are all seen
            if self._open >= self._settings.max_streams:
                raise HttpError(503, "too many event streams are open", hint="close a page, or read …/log instead")
            self._open += 1
        self._metrics.streams.inc()

    def _give_place(self) -> None:
        with self._counting:
            self._open -= 1
        self._metrics.streams.dec()

    async def _chunks(self, read: ReadEvents, state: ReadState, after: int) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        said_s = time.monotonic()
        while not self._is_closing:
            now = await run_in_threadpool(state)  # before the events: what ends meanwhile is seen next time
            events = await run_in_threadpool(read, after)
            if events:
                after = events[-1].number
                yield b"".join(_event_bytes(event) for event in events)
                said_s = time.monotonic()
            elif now in FINAL:
                yield f"event: end\ndata: {json.dumps({'kind': 'end', 'data': {'state': now}})}\n\n".encode()
                return
            elif time.monotonic() - said_s >= self._settings.event_ping_s:
                yield b": still here\n\n"
                said_s = time.monotonic()
            if len(events) < BATCH:
                await asyncio.sleep(self._settings.event_poll_s)


def _event_bytes(event: Event) -> bytes:
    row: dict[str, Any] = event_row(event)
    kind = "".join(letter for letter in event.kind if letter.isalnum() or letter in "-_")
    return f"id: {event.number}\nevent: {kind}\ndata: {json.dumps(row, ensure_ascii=False)}\n\n".encode()


# One event, as the HTML standard reads it; ``data`` holds JSON.
_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "All events were read, and there will be no more"},
}
