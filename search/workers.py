"""Deriving and scoring, here or in several processes."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from nuwa_search.core.allocator import keep_freed_memory
from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import OutsideError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.search.scorer import Scorer, SubnetDeriver, SubnetScore


@dataclass(frozen=True)
class Evaluation:
    """A subnet's score and what it took; ``reason`` says why there is none."""

    score: SubnetScore | None
    seconds: float
    reason: str = ""


def evaluate(arch: Arch, *, deriver: SubnetDeriver, scorer: Scorer, give_up_above: float | None) -> Evaluation:
    """Derive and score one arch; what fails for this arch alone is an answer, not an exception.

    Args:
        arch: Subnet to cut.
        deriver: Cuts it out of the base.
        scorer: Scores it on the search split.
        give_up_above: KL in nats after the first images above which scoring stops; None scores on all images.

    Returns:
        The score; where deriving or scoring failed, no score and the reason.

    Raises:
        Exception: Where memory ran out: another machine scores this arch, so it did not fail.
    """
    start = time.perf_counter()
    try:
        score = scorer.score(deriver.derive(arch), give_up_above=give_up_above)
    except (RuntimeError, ValueError, ArithmeticError) as error:  # singular systems, shapes
        if is_out_of_memory(error):  # of this machine at this moment: the same arch is scored where there is more
            raise
        return Evaluation(None, time.perf_counter() - start, f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - start
    if not score.kl < float("inf"):
        return Evaluation(None, seconds, f"the KL to the teacher is {score.kl}")
    return Evaluation(score, seconds)


class Workers:
    """Scores archs in this process, or in ``num_workers`` others that each hold deriver and scorer.

    Processes are spawned, never forked: a fork would copy torch's thread pool in an unusable state.
    """

    def __init__(self, deriver: SubnetDeriver, scorer: Scorer, *, num_workers: int) -> None:
        self._deriver = deriver
        self._scorer = scorer
        self.num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.num_workers > 1:
            threads = max(1, (os.cpu_count() or 1) // self.num_workers)
            self._pool = ProcessPoolExecutor(
                self.num_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._deriver, self._scorer, threads),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    @property
    def usual_batch(self) -> int:
        """Subnets in flight that keep every process busy."""
        return self.num_workers

    def submit(self, arch: Arch, *, give_up_above: float | None) -> "Future[Evaluation] | PoolPending":
        """Start scoring; without a pool the answer is there at once.

        Raises:
            OutsideError: If one of the processes was killed.
        """
        if self._pool is not None:
            with _told_if_killed():
                return PoolPending(self._pool.submit(_run_in_worker, arch, give_up_above))
        done: Future[Evaluation] = Future()
        done.set_result(evaluate(arch, deriver=self._deriver, scorer=self._scorer, give_up_above=give_up_above))
        return done


class PoolPending:
    """One subnet's score that another process works on."""

    def __init__(self, future: "Future[Evaluation]") -> None:
        self._future = future

    def result(self) -> Evaluation:
        """Wait for it.

        Raises:
            OutsideError: If one of the processes was killed.
        """
        with _told_if_killed():
            return self._future.result()


@contextmanager
def _told_if_killed() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise OutsideError(
            "a process that scores subnets was killed from outside",
            hint="Linux kills one where memory runs out (dmesg says so); fewer --workers take less, and "
            "--resume goes on with what is saved",
        ) from error


_OWN: dict[str, tuple[SubnetDeriver, Scorer]] = {}  # what a worker process was started with


def _start_worker(deriver: SubnetDeriver, scorer: Scorer, threads: int) -> None:
    torch.set_num_threads(threads)
    keep_freed_memory()
    _OWN["evaluator"] = (deriver, scorer)


def _run_in_worker(arch: Arch, give_up_above: float | None) -> Evaluation:
    deriver, scorer = _OWN["evaluator"]
    return evaluate(arch, deriver=deriver, scorer=scorer, give_up_above=give_up_above)
