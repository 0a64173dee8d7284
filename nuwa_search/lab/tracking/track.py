"""Follow a job in a tracking tool: a callback of its events, and the run around it."""

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from nuwa_search.core.errors import NuwaWarning, OutsideError
from nuwa_search.lab.event import Event
from nuwa_search.lab.tracking.tracker import SettingOfRun, Status, Tracker, open_tracker

if TYPE_CHECKING:
    from nuwa_search.deploy.train.outcome import Progress
    from nuwa_search.search.trials import TrialReport


class TrackedRun:
    """A callback that hands a job's numbers to a tracker; what is no number it passes over.

    A tracker that fails ends no job: that is warned of once, and nothing more is handed to it.

    Args:
        tracker: Whose run has begun.
        name: Of the tool, for messages.
    """

    def __init__(self, tracker: Tracker, *, name: str) -> None:
        self._tracker, self._name = tracker, name
        self._best_kl = math.inf
        self._is_lost = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.trial is not None:
            self._log("trial", self._numbers_of_trial(event.trial), step=event.trial.number)
        if event.finetune is not None:
            self._log("finetune", _numbers_of_finetuning(event.finetune), step=event.finetune.step)

    def result(self, numbers: Mapping[str, float | int | None]) -> None:
        """Keep what the job came to; what is None is not known and left out."""
        known = {name: float(value) for name, value in numbers.items() if value is not None}
        self._log("result", known, step=0)

    def end(self, status: Status) -> None:
        """Close the run."""
        self._handed(lambda: self._tracker.end(status))

    def _numbers_of_trial(self, trial: "TrialReport") -> dict[str, float]:
        numbers = {"predicted_latency_ms": trial.predicted_latency_ms, "seconds": trial.seconds}
        scores = {"kl": trial.kl, "top1_search": trial.top1_search}
        numbers.update({name: value for name, value in scores.items() if value is not None})
        if trial.state == "scored" and trial.kl is not None:
            self._best_kl = min(self._best_kl, trial.kl)
            numbers["best_kl"] = self._best_kl
        return numbers

    def _log(self, stage: str, numbers: Mapping[str, float], *, step: int) -> None:
        finite = {f"{stage}/{name}": value for name, value in numbers.items() if math.isfinite(value)}
        if finite:
            self._handed(lambda: self._tracker.log(finite, step=step))

    def _handed(self, call: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            with redirect_stdout(sys.stderr):  # trackio prints, and stdout is for answers
                call()
        except Exception as error:  # each tool has its own errors
            self._is_lost = True
            warnings.warn(
                f"{self._name} takes no more numbers of this job, which goes on: {error}", NuwaWarning, stacklevel=2
            )


def _numbers_of_finetuning(state: "Progress") -> dict[str, float]:
    best = {f"best_{state.best.score.metric}_search": state.best.score.accuracy}
    return {**state.losses, "lr": state.lr, "images_per_s": state.images_per_s, **best}


@contextmanager
def track(place: str, *, name: str, settings: Mapping[str, SettingOfRun] | None = None) -> Iterator[TrackedRun]:
    """Open a run in a tracking tool for the length of a block: ``lab.search(…, callback=run)``.

    Args:
        place: ``tensorboard``, ``mlflow``, ``wandb`` or ``trackio``, alone or as ``NAME:WHERE`` with where its runs go.
        name: Of the run, such as the study's.
        settings: What the job was asked for.

    Raises:
        NuwaError: If there is no such tool, or it is not installed.
        OutsideError: If it opens no run.
    """
    tool = place.partition(":")[0]
    tracker = open_tracker(place)
    try:
        with redirect_stdout(sys.stderr):
            tracker.begin(name, settings or {})
    except Exception as error:  # each tool has its own errors
        raise OutsideError(
            f"{tool} opened no run: {error}", hint=f"see that {tool} works alone, or leave out --log-to"
        ) from error
    run = TrackedRun(tracker, name=tool)
    status: Status = "failed"
    try:
        yield run
        status = "done"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        run.end(status)
