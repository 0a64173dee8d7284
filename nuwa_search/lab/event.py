"""What a running job tells a callback, and callbacks as the jobs take them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nuwa_search.search.hooks import Hooks

if TYPE_CHECKING:
    from nuwa_search.deploy.train.outcome import Progress
    from nuwa_search.search.trials import TrialReport

EventKind = Literal["stage", "step", "count", "trial", "finetune"]


@dataclass(frozen=True)
class Event:
    """One thing that a job tells while it runs; ``str(event)`` is a line for people.

    Args:
        kind: ``stage`` begins a stage of a search, ``step`` is a sentence, ``count`` says how far a loop is, ``trial``
            is a proposal of the study, ``finetune`` is where fine-tuning stands.
        stage: Stage of the search that goes on; empty before the first and outside a search.
        said: The line for people.
        done: Things done, for ``count`` and ``finetune``; None for the other kinds.
        total: Things in all; None where that is not known.
        trial: The proposal, for ``trial``.
        finetune: The state, for ``finetune``.
    """

    kind: EventKind
    stage: str
    said: str
    done: int | None = None
    total: int | None = None
    trial: "TrialReport | None" = None
    finetune: "Progress | None" = None

    def __str__(self) -> str:
        return self.said


Callback = Callable[[Event], object] | Hooks
"""Who watches a job: a function that is told each ``Event``, or ``Hooks`` with a function for each kind.

It runs in the thread that called the library, between two steps of the job: what it raises ends the job as Ctrl-C
does, with everything saved.
"""


def hooks_of(callback: Callback | None) -> Hooks:
    """Turn what a user handed over into the callbacks of a job; None watches nothing."""
    if callback is None:
        return Hooks()
    return callback if isinstance(callback, Hooks) else _Teller(callback).hooks()


class _Teller:
    """Makes an event of every call, with the stage it falls into."""

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback
        self._stage = ""

    def hooks(self) -> Hooks:
        return Hooks(stage=self._begin, step=self._step, count=self._count, trial=self._trial, finetune=self._finetune)

    def _begin(self, name: str) -> None:
        self._stage = name
        self._callback(Event("stage", name, f"{name}: begins"))

    def _step(self, text: str) -> None:
        self._callback(Event("step", self._stage, text))

    def _count(self, label: str, done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total}"
        self._callback(Event("count", self._stage, f"{label}: {done}{of}", done, total))

    def _trial(self, trial: "TrialReport") -> None:
        said = f"trial {trial.number}: {trial.state}, {trial.predicted_latency_ms:.3g} ms predicted"
        self._callback(Event("trial", self._stage, said, trial=trial))

    def _finetune(self, state: "Progress") -> None:
        said = f"fine-tuning: step {state.step} of {state.steps}"
        self._callback(Event("finetune", self._stage, said, state.step, state.steps, finetune=state))
