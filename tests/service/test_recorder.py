"""Trials reach the database while a study runs."""

import dataclasses
from collections.abc import Sequence

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.search.recording.trials import BATCH, TrialRecorder
from nuwa_search.search.trials import StudyResult, TrialReport, TrialState

ARCH = Arch(blocks=(BlockSpec(1, 8, 8, 8),), embed_dim=8, num_classes=2, img_size=8, patch_size=4)


def trial(number: int, state: TrialState = "scored") -> TrialReport:
    return TrialReport(number, ARCH, "neighbour", state, 1.0, (0.9, 1.1), kl=0.5)


def study(trials: Sequence[TrialReport]) -> StudyResult:
    return StudyResult("s", tuple(trials), (), None, (), "trials", 1.0)


def test_every_scored_trial_is_written_once_in_batches() -> None:
    writes: list[list[int]] = []
    recorder = TrialRecorder(lambda scored: writes.append([t.number for t in scored]))
    states: list[TrialState] = ["scored", "infeasible", "pruned", "duplicate", "failed"]
    trials = [trial(k, states[k % len(states)]) for k in range(5 * BATCH)]
    for one in trials:
        recorder.add(one)
    assert [len(write) for write in writes] == [BATCH] * (2 * BATCH // BATCH)
    recorder.finish(study(trials))
    assert sorted(n for write in writes for n in write) == [t.number for t in trials if t.is_evaluation]


def test_trials_of_an_earlier_run_are_written_at_the_end() -> None:
    writes: list[list[int]] = []
    recorder = TrialRecorder(lambda scored: writes.append([t.number for t in scored]))
    recorder.add(trial(3))
    recorder.finish(study([trial(k) for k in range(5)]))
    recorder.finish(study([trial(k) for k in range(6)]))
    assert [sorted(write) for write in writes] == [[0, 1, 2, 3, 4], [5]]


def test_a_trial_that_is_told_twice_is_written_once() -> None:
    writes: list[TrialReport] = []
    recorder = TrialRecorder(writes.extend)
    recorder.finish(study([trial(0)]))
    recorder.add(dataclasses.replace(trial(0), kl=0.4))
    recorder.finish(study([trial(0)]))
    assert len(writes) == 1
