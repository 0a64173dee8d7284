"""Watch over a running job from a second thread: beat, and interrupt it when it has to stop."""

import logging
import os
import signal
import threading
import time
from typing import Literal

from nuwa_search.core.background import BackgroundTask
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.owners import HEARTBEAT_S
from nuwa_search.store.records import JobClaim
from nuwa_search.store.store import Store

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""Between two looks at the database: a cancelled job stops within seconds."""
REPEAT_S = 45.0
"""Before an interrupt is sent again: Python swallows one that arrives inside a destructor or a C callback, and
saving a checkpoint takes less, and a transaction waits for others no longer."""

Reason = Literal["", "cancelled", "lost", "stopped"]


class JobWatch(BackgroundTask):
    """Keeps a claim alive while the main thread works, and raises KeyboardInterrupt there when it has to stop.

    ``reason`` says why: ``cancelled`` by somebody, ``lost`` to another worker, or ``stopped`` with this process.

    Args:
        store: The database.
        claim: The job.
        stop: Set when this process shall end.
        poll_s: Seconds between looks.
    """

    def __init__(self, store: Store, claim: JobClaim, *, stop: threading.Event, poll_s: float = POLL_S) -> None:
        super().__init__("nuwa-job-watch")
        self._store = store
        self._claim = claim
        self._stop = stop
        self._poll_s = poll_s
        self.reason: Reason = ""

    def _run(self) -> None:
        beaten_s = sent_s = float("-inf")
        while not self._over.wait(self._poll_s):
            now_s = time.monotonic()
            try:
                if now_s - beaten_s >= HEARTBEAT_S:
                    self._store.beat_job(self._claim)
                    beaten_s = now_s
                if not self.reason:
                    self.reason = self._look()
            except NuwaError as error:
                # A locked or unreachable database may come back; a claim that is gone does not.
                logger.warning("job %s: %s", self._claim.job.job_id, error.message)
                if error.exit_code == NuwaError.exit_code:
                    self.reason, beaten_s = "lost", float("inf")
            if self.reason and now_s - sent_s >= REPEAT_S and not self._over.is_set():
                interrupt_main_thread()
                sent_s = now_s

    def _look(self) -> Reason:
        if self._stop.is_set():
            return "stopped"
        return "cancelled" if self._store.is_cancel_wanted(self._claim) else ""


def interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, also out of a system call that waits."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)
