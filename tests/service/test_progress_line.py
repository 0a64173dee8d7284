"""Nobody waits in the dark: off a terminal there is a line at least every so often, and it names the stage."""

import time

from nuwa_search.service.cli.progress import PLAIN_INTERVAL_S, SILENCE_S, Pace, ProgressLine, time_left


def test_the_limits_are_those_of_the_contract():
    assert PLAIN_INTERVAL_S >= 5
    assert SILENCE_S + 1 < 15  # and a second to notice


def test_a_silent_stage_is_named_again_and_again(capsys):
    with ProgressLine(enabled=True, silence_s=0.08) as line:
        line.stage("statistics")
        line.show("images 3/8")
        time.sleep(0.45)
        line.stage("export")
        time.sleep(0.2)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "statistics: begins"
    beats = [text for text in told if text.startswith("statistics: going on")]
    assert len(beats) >= 3
    assert all("images 3/8" in text for text in beats)
    assert any(text.startswith("export: going on") and "3/8" not in text for text in told)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""  # it ends with the work


def test_a_stage_that_speaks_is_not_talked_over(capsys):
    with ProgressLine(enabled=True, silence_s=0.3) as line:
        for k in range(10):
            line.step(f"step {k}")
            time.sleep(0.05)
    assert capsys.readouterr().err.splitlines() == [f"step {k}" for k in range(10)]


def test_quiet_is_quiet(capsys):
    with ProgressLine(enabled=False, silence_s=0.01) as line:
        line.stage("study")
        line.show("trial 1", force=True)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_time_left_is_never_none_while_it_goes_on(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace()
    assert pace.left("cuts", 0, 10) == ""
    now[0] = 100.0
    assert pace.left("cuts", 5, 10) == "1 min 40 s left"
    now[0] = 100.1
    assert pace.left("cuts", 10, 10) == ""
    assert time_left(0.01) == "1 s left"
