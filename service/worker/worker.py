"""The worker's loop: claim a job, do it, say what became of it, and claim the next."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from pathlib import Path

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory
from nuwa_search.service.worker.tasks import Done, do_job, earlier_end
from nuwa_search.service.worker.watch import POLL_S, JobWatch
from nuwa_search.store.clock import utc_now
from nuwa_search.store.owners import HEARTBEAT_S
from nuwa_search.store.records import JobClaim
from nuwa_search.store.searches import is_alive
from nuwa_search.store.store import Store

logger = logging.getLogger(__name__)

BUSY_STUDY_WAIT_S = 5.0
"""Before a search is tried again whose earlier process, on another host, is not yet known to be dead."""
SAY_ATTEMPTS = 5


class Worker:
    """Takes jobs from the database until it is told to stop.

    Args:
        store: The database.
        cache_dir: Folder of statistics, libraries and checkpoints.
        stop: Set when it shall end; a job that is running is interrupted and given back.
        poll_s: Seconds between looks at the queue and at a running job's orders.
    """

    def __init__(self, store: Store, *, cache_dir: Path, stop: threading.Event, poll_s: float = POLL_S) -> None:
        self.worker_id = secrets.token_hex(8)
        self._store = store
        self._cache_dir = cache_dir
        self._stop = stop
        self._poll_s = poll_s

    def run(self, *, max_jobs: int | None = None, is_once: bool = False) -> int:
        """Work until told to stop; return how many jobs were taken up.

        Args:
            max_jobs: Stop after so many; None for no limit.
            is_once: Stop when the queue is empty.
        """
        taken = 0
        _heed_interrupts()
        beat = threading.Thread(target=self._beat, name="nuwa-worker-beat", daemon=True)
        beat.start()
        try:
            while not self._stop.is_set() and (max_jobs is None or taken < max_jobs):
                claim = self._claim()
                if claim is None:
                    if is_once:
                        break
                    self._stop.wait(self._poll_s)
                    continue
                taken += 1
                self._do(claim)
        finally:
            self._stop.set()
            beat.join()
        return taken

    def _claim(self) -> JobClaim | None:
        try:
            return self._store.claim_job()
        except OutsideError as error:  # the database may come back
            logger.warning("no look at the queue: %s", error.message)
            return None

    def _do(self, claim: JobClaim) -> None:
        job = claim.job
        logger.info("job %s (%s %s) taken up, attempt %d", job.job_id, job.kind, job.study or "", job.attempts)
        watch = JobWatch(self._store, claim, stop=self._stop, poll_s=self._poll_s)
        done: Done | None = None
        failure: BaseException | None = None
        try:
            with watch:
                done = do_job(claim, self._store, cache_dir=self._cache_dir)
        except (KeyboardInterrupt, Exception) as error:
            failure = error
        with _uninterrupted():
            self._say_patiently(claim, done, failure, watch)

    def _say_patiently(
        self, claim: JobClaim, done: Done | None, failure: BaseException | None, watch: JobWatch
    ) -> None:
        """Store the end of a job, in several attempts; if the database is away for longer, the lease runs out."""
        for attempt in range(SAY_ATTEMPTS):
            try:
                self._say(claim, done, failure, watch)
            except OutsideError as error:
                logger.warning("job %s: its end is not stored yet: %s", claim.job.job_id, error.message)
                time.sleep(2**attempt)
            except NuwaError as error:
                logger.warning("job %s: %s", claim.job.job_id, error.message)
                return
            else:
                return

    def _say(self, claim: JobClaim, done: Done | None, failure: BaseException | None, watch: JobWatch) -> None:
        ended = done or earlier_end(claim, self._store)
        if ended is not None:
            self._store.finish_job(claim, ended.state, result=ended.result, is_told=ended.is_told)
        elif isinstance(failure, KeyboardInterrupt) and watch.reason == "cancelled":
            self._store.finish_job(claim, "interrupted", is_told=claim.job.kind == "search" and self._is_told(claim))
        elif isinstance(failure, KeyboardInterrupt):
            if watch.reason == "lost":
                return  # it is another worker's now
            self._stop.set()
            self._store.release_job(claim, reason="its worker was stopped")
        elif self._is_held_elsewhere(claim):
            self._store.release_job(claim, reason="the study is with another process", wait_s=BUSY_STUDY_WAIT_S)
        else:
            self._store.finish_job(claim, "failed", problem=problem_of(failure))
        logger.info("job %s: %s", claim.job.job_id, ended.state if ended else watch.reason or repr(failure))

    def _is_told(self, claim: JobClaim) -> bool:
        """Whether the search was started, and so has told its end itself."""
        record = self._store.search(claim.job.study or "")
        return record is not None and record.state == "interrupted"

    def _is_held_elsewhere(self, claim: JobClaim) -> bool:
        """Whether the search could not be started because its former process still counts as alive."""
        record = self._store.search(claim.job.study) if claim.job.study else None
        if record is None or (record.owner_host, record.owner_pid) == (socket.gethostname(), os.getpid()):
            return False
        return is_alive(record, now=utc_now())

    def _beat(self) -> None:
        host, pid = socket.gethostname(), os.getpid()
        while True:
            try:
                self._store.beat_worker(self.worker_id, host=host, pid=pid)
            except NuwaError as error:
                logger.warning("no sign of life: %s", error.message)
            if self._stop.wait(HEARTBEAT_S):
                break
        try:
            self._store.forget_worker(self.worker_id)
        except NuwaError as error:
            logger.warning("not taken off the list of workers: %s", error.message)


def _heed_interrupts() -> None:
    """Let SIGINT raise KeyboardInterrupt, by which a cancelled job is interrupted.

    Shells without job control make what they start in the background ignore it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _uninterrupted:  # noqa: N801 - reads as the function it stands for
    """Keep Ctrl-C and SIGTERM waiting while the end of a job is stored."""

    def __enter__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._old = {sign: signal.signal(sign, signal.SIG_IGN) for sign in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            for sign, handler in self._old.items():
                signal.signal(sign, handler)


def problem_of(failure: BaseException | None) -> dict[str, object]:
    """Render what a job failed on: ``message``, ``hint`` and ``exit_code``."""
    if failure is not None and is_out_of_memory(failure):
        failure = out_of_memory(failure)
    if isinstance(failure, NuwaError):
        return {"message": failure.message, "hint": failure.hint, "exit_code": failure.exit_code}
    if isinstance(failure, OSError):
        where = f": {failure.filename}" if failure.filename else ""
        return {"message": f"{failure.strerror or failure}{where}", "hint": "", "exit_code": OutsideError.exit_code}
    logger.error("internal error", exc_info=failure)
    message = f"internal error, {type(failure).__name__}: {failure}"
    return {"message": message, "hint": "the worker's log has the details", "exit_code": OutsideError.exit_code}
