"""A streamed answer gives back what it holds at once: no garbage collector, no second client in its place."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from nuwa_search.service.api.metrics import Metrics
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.releasing import ReleasingResponse
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.stream import EventStreams

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "path": "/", "headers": []}


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("num_sent", [0, 1, 2, 99])
def test_file_is_closed_when_the_client_leaves(num_sent: int, tmp_path: Path) -> None:
    (tmp_path / "four").write_bytes(b"four")
    file = (tmp_path / "four").open("rb", buffering=0)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        if len(sent) == num_sent:
            raise OSError("the client left")
        sent.append(message)

    def parts() -> Iterator[bytes]:
        while part := file.read(1):
            yield part

    response = ReleasingResponse(parts(), release=file.close, media_type="application/zip")
    gc.disable()
    try:
        if num_sent == 99:
            asyncio.run(response(SCOPE, _nothing, send))
            assert b"".join(message.get("body", b"") for message in sent) == b"four"
        else:
            with pytest.raises(ClientDisconnect):
                asyncio.run(response(SCOPE, _nothing, send))
        assert file.closed
    finally:
        gc.enable()


def test_limit_of_streams_is_exact_among_requests_at_once(tmp_path: Path) -> None:
    settings = ServiceSettings(roots=(tmp_path,), max_streams=3)
    streams = EventStreams(settings, Metrics())
    barrier = threading.Barrier(8)
    answers: list[Any] = []

    def ask() -> None:
        barrier.wait()
        try:
            answers.append(streams.respond(lambda _: [], lambda: "running", after=0))
        except HttpError as error:
            answers.append(error.status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer for answer in answers if answer == 503] == [503] * 5
    opened = [answer for answer in answers if isinstance(answer, ReleasingResponse)]
    assert len(opened) == 3

    async def send(_: Any) -> None:
        raise OSError("the client left")

    with pytest.raises(ClientDisconnect):
        asyncio.run(opened[0](SCOPE, _nothing, send))
    streams.respond(lambda _: [], lambda: "running", after=0)  # its place is free again
    with pytest.raises(HttpError, match="too many event streams"):
        streams.respond(lambda _: [], lambda: "running", after=0)
