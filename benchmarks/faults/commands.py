"""What a process of the toy does: one command, with its outputs in files and, where asked, a fault from within."""

import os
import random
import resource
import sys
import threading
import time
from pathlib import Path

import nuwa_search.search.job.search  # loaded once, by the server that processes are forked from
import nuwa_search.service.worker.worker  # noqa: F401
from nuwa_search.service.cli.commands import search
from nuwa_search.service.cli.main import cli, run

JUMP_S = 86_400.0
LITTLE_MEMORY = 96 * 2**20
"""Beyond what the process has when the command begins: enough to say that it is not enough."""


def run_command(words: list[str], log: str, before: str | None, env: dict[str, str]) -> None:
    """Run ``nuwa`` or ``nuwa-search`` as a process does; never returns."""
    out, err = (
        os.open(Path(log).with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for suffix in (".out", ".err")
    )
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ |= env
    if before is not None:
        BEFORE[before]()
    program, *rest = words
    code = run(search.command if program == "nuwa-search" else cli, rest, prog_name=program)
    sys.stdout.flush()
    os._exit(code)


def let_the_clock_jump() -> None:
    """Move the wall clock of this process a day back or forth, several times a second."""
    real, chance = time.time, random.Random(0)
    offset = [0.0]
    time.time = lambda: real() + offset[0]

    def jump() -> None:
        while True:
            time.sleep(0.2)
            offset[0] = chance.choice((-JUMP_S, 0.0, JUMP_S))

    threading.Thread(target=jump, daemon=True).start()


def limit_memory() -> None:
    """Leave this process little more memory than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LITTLE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


BEFORE = {"clock": let_the_clock_jump, "memory": limit_memory}
