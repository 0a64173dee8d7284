"""Worker processes of a service: started with it, started again when they die, stopped with it."""

import logging
import os
import subprocess
import sys
import time
from types import TracebackType

from nuwa_search.core.background import BackgroundTask

logger = logging.getLogger(__name__)

WATCH_S = 1.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STOP_S = 20.0
"""For a worker to save what it does; a checkpoint takes about a second."""
_START = "import sys; from nuwa_search.service.cli.main import main; main(sys.argv[1:])"


class WorkerPool(BackgroundTask):
    """Keeps some worker processes alive for the length of a ``with`` block.

    Args:
        num_workers: Number of worker processes.
        db_url: Of the database; handed over in the environment, where other users of the machine do not see it.
        cache_dir: For caches; None for the default.
    """

    def __init__(self, num_workers: int, *, db_url: str, cache_dir: str | None) -> None:
        super().__init__("nuwa-worker-pool")
        self._db_url = db_url
        self._args = ["worker", "--parent-pid", str(os.getpid())]
        if cache_dir is not None:
            self._args += ["--cache-dir", cache_dir]
        self._children: list[subprocess.Popen[bytes] | None] = [None] * num_workers
        self._not_before = [0.0] * num_workers
        self._pauses = [FIRST_PAUSE_S] * num_workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        children = [child for child in self._children if child is not None]
        for child in children:
            child.terminate()
        deadline = time.monotonic() + STOP_S
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("worker %d did not stop and is killed; its job goes to the next one", child.pid)
                child.kill()
                child.wait()

    def _run(self) -> None:
        while True:
            for place, child in enumerate(self._children):
                if child is not None and child.poll() is not None:
                    logger.warning("worker %d ended with code %s", child.pid, child.returncode)
                    self._children[place] = None
                    self._not_before[place] = time.monotonic() + self._pauses[place]
                    self._pauses[place] = min(2 * self._pauses[place], LONGEST_PAUSE_S)
                if self._children[place] is None and time.monotonic() >= self._not_before[place]:
                    self._children[place] = self._start()
            if self._over.wait(WATCH_S):
                return

    def _start(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-c", _START, *self._args],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"NUWA_DB": self._db_url},
        )
        logger.info("worker %d started", child.pid)
        return child
