"""The toy job of every fault: what it is started with, and processes that do what the commands do."""

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.faults.commands import run_command
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours

# A server that has the libraries and no database open: SQLite's locks do not survive a fork.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["benchmarks.faults.commands"])
LONGEST_S = 600.0
"""A command that takes longer hangs: none of them takes a tenth of it."""
TRIALS, STEPS = 20, 100


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        code: Exit code; negative for the signal that ended it.
        told: What it said on stderr.
        answer: What it said on stdout.
        seconds: How long it ran.
    """

    code: int
    told: str
    answer: str
    seconds: float

    @property
    def is_refused(self) -> bool:
        """Whether it ended with an error of its own: a sentence, not a traceback."""
        return self.code in (1, 2, 3) and "error:" in self.told and "Traceback" not in self.told


class Running:
    """One command in a process of its own.

    Args:
        words: ``nuwa`` or ``nuwa-search`` and what follows.
        log: File that its outputs go to, with ``.out`` and ``.err``.
        before: Called in the process before the command, by name of ``benchmarks.faults.commands``.
        env: Variables that the process has beside this one's.
    """

    def __init__(
        self, words: list[str], *, log: Path, before: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._log, self._begun = log, time.monotonic()
        self.process: BaseProcess = _PROCESSES.Process(
            target=run_command, args=(words, str(log), before, dict(env or {}))
        )
        self.process.start()

    def kill(self) -> bool:
        """Kill it with -9; whether it was still running."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -9

    def end(self) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: If it hangs.
        """
        self.process.join(LONGEST_S)
        if self.process.exitcode is None:
            self.kill()
            raise TimeoutError(f"{self._log.name} hangs")
        return Ended(self.process.exitcode, self.told, self._read(".out"), time.monotonic() - self._begun)

    @property
    def told(self) -> str:
        """What it said on stderr so far."""
        return self._read(".err")

    def _read(self, suffix: str) -> str:
        path = self._log.with_suffix(suffix)
        return path.read_text(errors="replace") if path.exists() else ""


class Toy:
    """A folder with the toy base, its images, and a database in which its device is profiled.

    Args:
        folder: Is made.
        profiled: A database in which the toy base is profiled already; None profiles it.
    """

    def __init__(self, folder: Path, *, profiled: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.base = write_toy_base(folder / "base")
        self.images = write_colours(folder / "images", CLASSES)
        self.profiled = profiled or folder / "profiled.sqlite"
        self._count = 0
        if profiled is not None:
            return
        done = self.run(["nuwa", "profile", "jetson-nano", "--base", str(self.base), "--db", str(self.profiled)])
        if done.code != 0:
            raise RuntimeError(done.told)

    def start(self, words: list[str], *, before: str | None = None, env: Mapping[str, str] | None = None) -> Running:
        """Start a command."""
        self._count += 1
        return Running(words, log=self.folder / f"log{self._count}", before=before, env=env)

    def run(self, words: list[str], *, before: str | None = None, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        return self.start(words, before=before, env=env).end()

    def search_words(self, place: Path, *, db: str | None = None, study: str = "toy") -> list[str]:
        """Write the command line of the toy search in ``place``."""
        named = {
            "--base": self.base,
            "--data": self.images,
            "--db": db or place / "nuwa.sqlite",
            "-o": place / study,
            "--cache-dir": place / "cache",
            "--study": study,
            "--budget-ms": 1.5,
            "--trials": TRIALS,
            "--finetune-steps": STEPS,
        }
        return ["nuwa-search", *(str(word) for pair in named.items() for word in pair), "--json"]


def say(text: str) -> None:
    """Tell how far the run is, on stderr."""
    print(f"{text}", file=sys.stderr, flush=True)


def is_root() -> bool:
    """Whether this process may mount file systems, as far as its user tells."""
    return os.geteuid() == 0
