"""Answers that give back what they hold, however they end.

A generator's own ``finally`` is not enough: when a client leaves, the generator waits for the garbage collector.
"""

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from pathlib import Path

from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send


class ReleasingResponse(StreamingResponse):
    """Streams parts of an answer, and releases a resource once it was sent, was cut off or failed.

    Args:
        content: The parts.
        release: Called once, in the event loop, after the last part or the failure.
        media_type: Media type of the answer.
        headers: Added to the answer.
    """

    def __init__(
        self,
        content: Iterable[bytes] | AsyncIterable[bytes],
        *,
        release: Callable[[], None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


class TemporaryFileResponse(FileResponse):
    """Sends a file, or the ranges of it that are asked for, and deletes it.

    Args:
        path: Of the file; its size and time of change make the ETag that a later range is held against.
        media_type: Media type of the answer.
        filename: Under which a client saves it.
    """

    def __init__(self, path: Path, *, media_type: str, filename: str) -> None:
        super().__init__(path, media_type=media_type, filename=filename)
        self._file = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.unlink(missing_ok=True)
