"""Keep what a job tells its hooks in the database, so that others can watch it from anywhere."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from nuwa_search.core.errors import OutsideError
from nuwa_search.deploy.train.outcome import Progress as FinetuneProgress
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.trials import EVALUATED, StoredTrial, TrialReport
from nuwa_search.store.store import Store
from nuwa_search.store.trials import TRIAL

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Between two stored counts of one label, or two stored steps of a fine-tuning: people read no faster."""

Say = Callable[[str, dict[str, Any]], object]


class EventLog:
    """Turns a job's callbacks into stored events.

    Args:
        say: Stores one event, given its kind and payload.
        scored: Subnets that earlier runs of this search scored.
        wanted: Subnets that will be scored in all; None outside a search.
    """

    def __init__(self, say: Say, *, scored: int = 0, wanted: int | None = None) -> None:
        self._say = say
        self._scored = scored
        self._wanted = wanted
        self._last_s: dict[str, float] = {}

    def hooks(self, beside: Hooks | None = None) -> Hooks:
        """Return callbacks that store, and then call those of ``beside``."""
        other = beside or Hooks()

        def stage(name: str) -> None:
            self.say("stage", {"stage": name})
            other.stage(name)

        def step(text: str) -> None:
            self.say("step", {"text": text})
            other.step(text)

        def count(label: str, done: int, total: int | None) -> None:
            self.count(label, done, total)
            other.count(label, done, total)

        def trial(report: TrialReport) -> None:
            self._trial(report)
            other.trial(report)

        def finetune(state: FinetuneProgress) -> None:
            self._finetune(state)
            other.finetune(state)

        return dataclasses.replace(other, stage=stage, step=step, count=count, trial=trial, finetune=finetune)

    def say(self, kind: str, payload: dict[str, Any]) -> None:
        """Store one event; where the database fails, a warning is logged and the job goes on."""
        try:
            self._say(kind, {name: _finite(value) for name, value in payload.items()})
        except OutsideError as error:
            logger.warning("an event was not stored: %s", error.message)

    def count(self, label: str, done: int, total: int | None) -> None:
        """Store how far a step is, at most once a second."""
        if self._is_due(label, is_last=done == total):
            self.say("count", {"label": label, "done": done, "total": total})

    def _trial(self, report: TrialReport) -> None:
        about = report.to_json() | {"number": report.number, "arch_id": report.arch.arch_id}
        self._say_trial(about, is_evaluation=report.is_evaluation)

    def catch_up(self, trials: Iterable[StoredTrial]) -> None:
        """Store events of proposals that an earlier run made and was ended before it could log."""
        for trial in trials:
            about = {**trial.report, "number": trial.number, "arch_id": trial.arch_id}
            self._say_trial(about, is_evaluation=trial.report["state"] in EVALUATED)

    def _say_trial(self, about: dict[str, Any], *, is_evaluation: bool) -> None:
        self._scored += is_evaluation
        self.say(TRIAL, about | {"scored": self._scored, "wanted": self._wanted})

    def _finetune(self, state: FinetuneProgress) -> None:
        if self._is_due("finetune", is_last=state.step == state.steps or bool(state.event)):
            told = {
                "step": state.step,
                "steps": state.steps,
                "loss": state.losses.get("loss"),
                "top1_search": state.best.score.top1,
                "accuracy_search": state.best.score.accuracy,
                "accuracy_search_interval": list(state.best.score.interval),
                "num_images": state.best.score.num_images,
                "seconds": round(state.seconds, 1),
                "event": state.event,
            }
            self.say("finetune", told)

    def _is_due(self, label: str, *, is_last: bool) -> bool:
        now_s = time.monotonic()
        if not is_last and now_s - self._last_s.get(label, float("-inf")) < INTERVAL_S:
            return False
        self._last_s[label] = now_s
        return True


def _finite(value: Any) -> Any:
    """Leave out what JSON cannot say: the loss of a run that diverged."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def log_of_search(store: Store, study: str, *, wanted: int) -> EventLog:
    """Make the log of a search that was started; events of proposals that only its study holds are stored now.

    A run that was killed between the study's storage and the log leaves such a proposal.

    Raises:
        OutsideError: If the study's storage fails.
    """
    from nuwa_search.search.recording.records import optuna_url
    from nuwa_search.search.study import stored_trials  # loads Optuna, which the log of a profile has no use for

    told = store.trials(study)
    known = {trial["number"] for trial in told}
    scored = sum(trial["state"] in EVALUATED for trial in told)
    log = EventLog(lambda kind, payload: store.add_event(study, kind, payload), scored=scored, wanted=wanted)
    log.catch_up(trial for trial in stored_trials(optuna_url(store), study) if trial.number not in known)
    return log
