"""A streamed answer that gives back what it holds, however it ends."""

from collections.abc import AsyncIterable, Callable, Iterable, Mapping

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class ReleasingResponse(StreamingResponse):
    """Streams parts of an answer, and releases a resource once it was sent, was cut off or failed.

    A generator's own ``finally`` is not enough: when a client leaves, the generator waits for the garbage collector.

    Args:
        content: The parts.
        release: Called once, in the event loop, after the last part or the failure.
        media_type: Of the answer.
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
