"""A teacher that takes its time, or ends one of several processes; both travel to the processes with it."""

import functools
import os
import signal
import time

from nuwa_search.deploy.train.teacher import Teacher
from tests.support.train_toys import make_vit

CALLS_BEFORE = 5
"""Passes through the teacher's first block before a process dies: of some steps; a run of the toys has twelve."""


def slow_teacher(*, seconds: float = 0.0, dies_in: str = "") -> Teacher:
    """Make the toys' teacher.

    Args:
        seconds: Of each pass through its first block.
        dies_in: Rank of the process that kills itself after some passes; empty for none.
    """
    model = make_vit(seed=2, num_heads=4)
    model.blocks[0].register_forward_hook(functools.partial(_passed, _Passes(), seconds, dies_in))
    return Teacher(model)


class _Passes:
    count = 0


def _passed(passes: _Passes, seconds: float, dies_in: str, *_: object) -> None:
    passes.count += 1
    time.sleep(seconds)
    if dies_in and os.environ.get("RANK") == dies_in and passes.count > CALLS_BEFORE:
        os.kill(os.getpid(), signal.SIGKILL)
