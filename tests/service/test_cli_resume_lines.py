"""What is interrupted names the command that goes on, with the user's flags; settings files reach every verb."""

import json
import shlex
from pathlib import Path

import pytest

from nuwa_search.service.cli.commands.search import command as search_command
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_images import write_colours


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


def interrupt(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt


def resume_words(err: str) -> list[str]:
    return shlex.split(err.split("To go on:\n")[1].splitlines()[0])


def test_an_interrupted_profile_repeats_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nuwa_search.lab.profile.run_profile", interrupt)
    db = str(tmp_path / "my data.sqlite")
    given = ["--base", "default", "--minutes", "2.5", "--seed", "3", "--db", db]
    assert nuwa("profile", "jetson-nano", *given, "--resume") == 130
    words = resume_words(capsys.readouterr().err)
    assert words[:3] == ["nuwa", "profile", "jetson-nano"]
    assert sorted(words[3:]) == sorted(given)


def test_an_interrupted_fine_tuning_repeats_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nuwa_search.search.job.finetune.finetune_bundle", interrupt)
    folder = str(tmp_path / "my bundle")
    given = ["--base", "./my vit", "--data", "images", "--seed", "7", "--finetune-steps", "5", "--compile"]
    assert nuwa("finetune", folder, *given) == 130
    words = resume_words(capsys.readouterr().err)
    assert words[:3] == ["nuwa", "finetune", folder]
    assert words[-1] == "--resume"
    assert sorted(words[3:-1]) == sorted(given)


def test_a_password_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nuwa_search.service.cli.again import command_to_go_on
    from nuwa_search.service.cli.commands.profile import command

    url = "postgresql://me:secret@there/db"
    with command.make_context("profile", ["jetson-nano", "--db", url, "-q"]):
        line = command_to_go_on(["nuwa", "profile", "jetson-nano"])
    assert shlex.split(line) == ["nuwa", "profile", "jetson-nano", "--quiet", "--db", "postgresql://me:***@there/db"]


def test_a_cache_folder_of_a_settings_file_is_shown_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nuwa.toml").write_text('cache-dir = "my-cache"\n')
    assert nuwa("env", "--json") == 0
    assert json.loads(capsys.readouterr().out)["cache"] == "my-cache"
    assert nuwa("config", "show", "--json", "--db", "x.sqlite") == 0
    shown = {row["setting"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert (shown["cache-dir"]["value"], shown["cache-dir"]["source"]) == ("my-cache", "nuwa.toml")
    assert (shown["db"]["value"], shown["db"]["source"]) == ("x.sqlite", "flag --db")


def test_a_broken_database_is_a_finding_of_the_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 400)
    assert nuwa("doctor", "--json", "--db", str(tmp_path / "a.sqlite")) == 1
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)["findings"]}
    assert not found["database"]["ok"]
    assert found["database"]["mend"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--base", "./nothing", "--data", "."], "no base at"),
        (["--data", "./nothing"], "no data at"),
        (["--classes", "bus,trian"], "unknown class 'trian'"),
        (["--predictor", "abc"], "no latency predictor"),
        (["-o", "notes.txt"], "is not a bundle"),
    ],
)
def test_a_dry_run_checks_what_a_search_starts_from(
    args: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_colours(tmp_path / "images", ("bus", "train"), num_train=8)
    (tmp_path / "notes.txt").write_text("mine")
    line = ["--budget-ms", "5", "--base", "default", "--data", "images", "--dry-run", "--db", "a.sqlite", *args]
    assert run(search_command, line, prog_name="nuwa-search") == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
