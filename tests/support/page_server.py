"""The service over a database, in a thread of this process, to be stopped and started anew at the same address."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from nuwa_search.service.api.app import create_app
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.timed_protocol import TimedProtocol
from nuwa_search.store.store import Store, open_store

START_S = 20.0


class PageServer:
    """Serves API and page at ``url``.

    Args:
        db: A SQLite file.
        roots: Data roots.
        token: What clients have to show; None for nothing.
        protocol: Of its connections.
    """

    def __init__(
        self,
        db: Path,
        *,
        roots: Sequence[Path],
        token: str | None = None,
        protocol: type[TimedProtocol] = TimedProtocol,
    ) -> None:
        self._db = db
        self._protocol = protocol
        # Tests open many views in a second; what the limit does is tested elsewhere.
        self._settings = ServiceSettings(
            roots=tuple(root.resolve() for root in roots),
            token=token,
            requests_per_s=1e5,
            burst=100_000,
            event_poll_s=0.05,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.address = ("127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve, and return once connections are taken.

        Raises:
            TimeoutError: If it does not start.
        """
        self._store: Store = open_store(str(self._db))
        self._app = create_app(self._store, self._settings)
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=self._port,
            http=self._protocol,
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError("the service did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """End all connections and give the database back."""
        self._app.state.streams.close()
        self._server.should_exit = True
        self._thread.join(timeout=START_S)
        self._store.close()


@contextmanager
def serve_page(db: Path, *, roots: Sequence[Path], token: str | None = None) -> Iterator[PageServer]:
    """Serve for the length of a block."""
    server = PageServer(db, roots=roots, token=token)
    server.start()
    try:
        yield server
    finally:
        server.stop()
