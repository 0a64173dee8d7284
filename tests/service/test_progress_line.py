"""Nobody waits in the dark: off a terminal there is a line at least every so often, and it names the stage."""

import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import click
import pytest

from nuwa_search.core.counting import count, counted, counts_to
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.main import COMMANDS, cli, run
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import (
    PLAIN_INTERVAL_S,
    SILENCE_S,
    Pace,
    ProgressLine,
    current_line,
    time_left,
)


def test_the_limits_are_those_of_the_contract() -> None:
    assert PLAIN_INTERVAL_S >= 5
    assert SILENCE_S + 1 < 15  # and a second to notice


def test_a_silent_stage_is_named_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_stage_that_speaks_is_not_talked_over(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(enabled=True, silence_s=0.3) as line:
        for k in range(10):
            line.step(f"step {k}")
            time.sleep(0.05)
    assert capsys.readouterr().err.splitlines() == [f"step {k}" for k in range(10)]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(enabled=False, silence_s=0.01) as line:
        line.stage("study")
        line.show("trial 1", force=True)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is moved."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def test_time_left_is_of_this_run_of_a_step(now: list[float]) -> None:
    pace = Pace()
    assert pace.left_s("cuts", 0, 10) is None
    now[0] += 100.0
    assert pace.left_s("cuts", 5, 10) == 100.0
    now[0] += 100.0
    assert pace.left_s("cuts", 10, 10) is None
    now[0] += 1000.0  # others go on, and then the step comes again
    assert pace.left_s("cuts", 5, 10) is None
    now[0] += 20.0
    assert pace.left_s("cuts", 7, 10) == 30.0
    assert time_left(0.01) == "1 s left"


def test_a_time_left_that_has_passed_is_not_repeated(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """`0 s left` stood for twelve seconds."""
    line = ProgressLine(enabled=True)
    line.stage("refine")
    line.count("finalists", 1, 8)
    now[0] += 30.0
    line.count("finalists", 7, 8)
    for _ in range(3):
        now[0] += 10.0
        line.beat()
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "refine: begins",
        "finalists 7/8  5 s left",
        "refine: going on for 40 s  finalists 7/8  longer than expected",
        "refine: going on for 50 s  finalists 7/8  longer than expected",
        "refine: going on for 1 min 0 s  finalists 7/8  longer than expected",
    ]
    line.count("finalists", 8, 8)
    now[0] += 10.0
    line.beat()
    assert capsys.readouterr().err.splitlines()[-1] == "refine: going on for 1 min 10 s"  # done, and not said again


def test_lines_of_a_counting_loop_come_every_five_to_fifteen_seconds(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ProgressLine(enabled=True)
    spoken = [now[0]]
    with counts_to(line.count):
        for _ in counted("images", range(40)):
            now[0] += 3.0
            line.beat()
            if capsys.readouterr().err:
                spoken.append(now[0])
    gaps = [after - before for before, after in itertools.pairwise(spoken)]
    assert len(gaps) > 10
    assert min(gaps) >= PLAIN_INTERVAL_S
    assert max(gaps) <= 15


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(enabled=True) as line, counts_to(line.count):
        list(counted("images", range(40)))
    assert capsys.readouterr().err == ""


def probe(callback: Callable[..., None]) -> click.Command:
    """A command of ours around ``callback``."""
    return click.command("probe", cls=NuwaCommand)(with_flags()(callback))


def test_every_command_has_a_line_that_counts_and_ends_with_the_answer(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def callback(**values: object) -> None:
        for _ in counted("images", range(3)):
            now[0] += 6.0
        output_from_flags(values).text("answer")
        now[0] += 60.0
        count("images", 1, 9)
        current_line().beat()

    assert run(probe(callback), [], prog_name="probe") == 0
    told = capsys.readouterr()
    assert told.out == "answer\n"
    assert told.err.splitlines() == ["images 1/3", "images 2/3  6 s left", "images 3/3"]
    assert run(probe(callback), ["--no-progress"], prog_name="probe") == 0
    assert capsys.readouterr().err == ""


def test_nothing_is_said_while_somebody_is_asked(
    now: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))

    def answer(_question: str, **_more: object) -> bool:
        now[0] += 60.0
        current_line().beat()
        return True

    def ask(**_: object) -> None:
        confirmed("Remove it?", yes=False)

    monkeypatch.setattr(click, "confirm", answer)
    assert run(probe(ask), [], prog_name="probe") == 0
    assert capsys.readouterr().err == ""


def test_commands_that_serve_others_have_a_log_instead() -> None:
    services = {name for name in COMMANDS if getattr(cli.get_command(click.Context(cli), name), "is_service", False)}
    assert services == {"serve", "worker"}
