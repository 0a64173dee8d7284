"""Scored subnets go to the database while the study runs, a few at a time."""

from collections.abc import Callable, Sequence

from nuwa_search.search.trials import StudyResult, TrialReport

BATCH = 8
"""Subnets per write: about a write every ten seconds on a CPU, and few subnets missing in a query meanwhile."""


class TrialRecorder:
    """Collects scored subnets and writes them in batches.

    Args:
        write: Stores trials; called with at least one.
    """

    def __init__(self, write: Callable[[Sequence[TrialReport]], None]) -> None:
        self._write = write
        self._waiting: list[TrialReport] = []
        self._written: set[int] = set()

    def add(self, trial: TrialReport) -> None:
        """Take a proposal; it is written with the batch it completes, if it was scored."""
        if trial.is_evaluation and trial.number not in self._written:
            self._waiting.append(trial)
            if len(self._waiting) >= BATCH:
                self._flush()

    def finish(self, study: StudyResult) -> None:
        """Write what of a finished study is not written yet, trials of earlier runs included."""
        known = self._written | {trial.number for trial in self._waiting}
        self._waiting += [t for t in study.trials if t.is_evaluation and t.number not in known]
        self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._write(self._waiting)
            self._written |= {trial.number for trial in self._waiting}
            self._waiting = []
