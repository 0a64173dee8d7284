"""Seconds by stage: a stage ends where the next begins, and the older keys are sums of stages."""

import time

import pytest

from nuwa_search.search.job.clock import StageClock
from nuwa_search.search.stages import STAGES
from nuwa_search.service.cli.query_view import stages_text


def test_stages_share_the_time_and_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = StageClock()
    now[0] += 1  # before any stage: sources are opened
    for stage, seconds in (("profile", 2), ("statistics", 4), ("study", 8), ("refine", 16), ("study", 32)):
        clock.stage(stage)
        now[0] += seconds
    assert clock.seconds() == {
        "profile": 2, "statistics": 4, "cuts": 0, "study": 40, "refine": 16, "finetune": 0, "export": 0, "verify": 0,
        "derive": 4, "search": 56, "deploy": 0, "total": 63,
    }  # fmt: skip
    now[0] += 1
    assert clock.seconds()["study"] == 41  # asking ends nothing


def test_people_are_shown_the_longest_stages_first() -> None:
    spent = dict.fromkeys(STAGES, 0.0) | {"study": 40.4, "finetune": 50.0, "verify": 0.2, "total": 92.0}
    assert stages_text(spent) == "92 s: finetune 50, study 40"
    assert stages_text({}) == ""
