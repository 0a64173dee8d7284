"""Accounts without a home directory, as containers and services have them, and ``~`` in paths."""

import os
import pwd
from pathlib import Path

import pytest

from nuwa_search.service.cli.main import cli, run


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take the home directory away: no HOME, no account of this number."""

    def no_account(_: object) -> pwd.struct_passwd:
        raise KeyError("no such account")

    for name in [name for name in os.environ if name == "HOME" or name.startswith(("XDG_", "NUWA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    monkeypatch.setattr(pwd, "getpwnam", no_account)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


def test_commands_that_need_no_home_work(homeless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuwa("device", "ls", "--db", "own.sqlite") == 0
    assert nuwa("env") == 0
    assert "database\tnone: this account has no home directory" in capsys.readouterr().out
    assert nuwa("config", "show") == 0
    assert "none: this account has no home directory" in capsys.readouterr().out
    assert (homeless / "own.sqlite").exists()


def test_what_needs_one_says_which_option_names_another(homeless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert homeless.exists()
    assert nuwa("query") == 2
    assert nuwa("doctor", "--db", "own.sqlite") == 2
    said = capsys.readouterr().err
    assert said.count("error: this account has no home directory") == 2
    assert "name a place with --db, or set HOME" in said
    assert "name a place with --cache-dir, or set HOME" in said


@pytest.mark.parametrize(
    "args",
    [
        ("query", "--db", "~nobody-of-this-name/nuwa.sqlite"),
        ("evaluate", "~nobody-of-this-name/bundle"),
        ("search", "--budget-ms", "30", "--data", "~nobody-of-this-name/images", "--db", "own.sqlite"),
        ("serve", "--root", "~nobody-of-this-name/bundles", "--db", "own.sqlite"),
    ],
)
def test_tilde_of_nobody_is_said(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nuwa(*args) == 2
    assert "the home directory of '~nobody-of-this-name' cannot be found" in capsys.readouterr().err
