"""``nuwa worker``: do the searches and profiles that wait in the database."""

import os
import signal
import threading
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import click

from nuwa_search.core.settings import default_cache_dir
from nuwa_search.service.cli.command import ServiceCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.service_log import log_to_stderr

PARENT_POLL_S = 2.0


@click.command("worker", cls=ServiceCommand)
@click.option("--once", is_flag=True, help="End when the queue is empty.")
@click.option("--max-jobs", type=click.IntRange(min=1), metavar="N", help="End after so many jobs.")
@click.option("--parent-pid", type=int, hidden=True, help="End when this process has gone.")
@with_flags("cache-dir", writes=True)
def command(once: bool, max_jobs: int | None, parent_pid: int | None, **values: Any) -> int:
    """Take searches and profiles from the database and do them, one after the other.

    Any number of workers, on any number of machines that reach the database and the files, share the queue. One that
    is stopped gives its job back; one that is killed loses it to the next, which goes on where it was.
    """
    output = output_from_flags(values)
    log_to_stderr(is_verbose=not values["quiet"])
    stop = threading.Event()
    _stop_on_sigterm(stop)
    if parent_pid is not None:
        threading.Thread(target=_end_with, args=(parent_pid,), name="nuwa-parent-watch", daemon=True).start()
    from nuwa_search.service.worker.worker import Worker

    with database(values) as store:
        worker = Worker(store, cache_dir=Path(values["cache_dir"] or default_cache_dir()), stop=stop)
        try:
            taken = worker.run(max_jobs=max_jobs, is_once=once)
        except KeyboardInterrupt:
            return 0  # how a worker ends
    if output.json:
        output.document({"schema": "nuwa.worker/1", "jobs": taken})
    return 0


def _stop_on_sigterm(stop: threading.Event) -> None:
    """Make SIGTERM interrupt what runs and set ``stop``, by which the job is interrupted again if need be.

    Python swallows what a handler raises inside a destructor or a weak reference's callback.
    """
    orders: SimpleQueue[None] = SimpleQueue()  # its ``put`` may be called in a signal handler, unlike ``Event.set``

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        orders.put(None)
        raise KeyboardInterrupt

    def obey() -> None:
        orders.get()
        stop.set()

    threading.Thread(target=obey, name="nuwa-stop", daemon=True).start()
    signal.signal(signal.SIGTERM, interrupt)


def _end_with(parent_pid: int) -> None:
    """Interrupt this process when the service that started it has ended without stopping it.

    Again and again: Python swallows an interrupt that arrives inside a destructor.
    """
    from nuwa_search.service.worker.watch import REPEAT_S, interrupt_main_thread

    pause = threading.Event()
    while os.getppid() == parent_pid:
        pause.wait(PARENT_POLL_S)
    while True:
        interrupt_main_thread()
        pause.wait(REPEAT_S)
