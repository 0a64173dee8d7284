"""Run something in a thread of its own for the length of a ``with`` block."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class BackgroundTask(ABC):
    """Starts ``_run`` in a thread on entering and waits for its end on leaving.

    Args:
        thread_name: Shown by debuggers.
    """

    def __init__(self, thread_name: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until ``_over`` is set."""
