"""What a distillation costs, told by short runs, and how many steps a given time pays for."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

PROBE_STEPS = (1, 5)
"""Lengths of the two runs that tell a step's time from what every run costs anyway."""
SAFE_SHARE = 0.9
"""Of the time that is planned for: steps of the full run may be slower than those of a probe."""


@dataclass(frozen=True)
class RunCost:
    """Seconds of a run.

    Args:
        fixed_s: For setting up and evaluating.
        step_s: Per step.
        view_s: For the teacher to look at all training images once, which is stored for later runs.
    """

    fixed_s: float
    step_s: float
    view_s: float = 0.0

    def of(self, steps: int, *, num_views: int = 0) -> float:
        """Seconds of one run that needs so many views that are not stored yet."""
        return self.fixed_s + steps * self.step_s + num_views * self.view_s


def measure_run_cost(run: Callable[[int], object]) -> RunCost:
    """Time three short runs: one that fills the teacher's store, and two of different length.

    Args:
        run: Runs so many steps.
    """
    seconds = []
    for steps in (PROBE_STEPS[0], *PROBE_STEPS):
        start = time.perf_counter()
        run(steps)
        seconds.append(time.perf_counter() - start)
    first, short, long = seconds
    step_s = max(0.0, long - short) / (PROBE_STEPS[1] - PROBE_STEPS[0])
    fixed_s = max(0.0, short - PROBE_STEPS[0] * step_s)
    return RunCost(fixed_s=fixed_s, step_s=step_s, view_s=max(0.0, first - short))


def affordable_steps(cost: RunCost, *, wanted: int, seconds: float | None, steps_per_view: int, max_views: int) -> int:
    """Return how many of ``wanted`` steps fit the time, at least one.

    Args:
        cost: Seconds that a run takes.
        wanted: Steps of the run where there is time enough.
        seconds: Time for the run in seconds; None is no limit.
        steps_per_view: Steps of one pass over the training images; each pass has its own view.
        max_views: Views after which they repeat; 0 never repeats.
    """
    if seconds is None:
        return wanted
    least, most = 1, wanted
    while least < most:
        steps = (least + most + 1) // 2
        views = math.ceil(steps / max(1, steps_per_view))
        views = min(views, max_views) if max_views else views
        if cost.of(steps, num_views=max(0, views - 1)) <= SAFE_SHARE * seconds:
            least = steps
        else:
            most = steps - 1
    return least
