"""Time work so that a machine busy with other things changes little."""

import time
from collections.abc import Callable


def least_seconds(work: Callable[[], object], *, runs: int = 7) -> float:
    """Processor seconds of ``work``, the least of ``runs``: what others take from caches and cores only adds."""
    spent = []
    for _ in range(runs):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)
