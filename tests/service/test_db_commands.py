"""``nuwa db`` and ``nuwa cache`` on the command line: what they say, ask and answer."""

import json
import shutil
from pathlib import Path

import pytest

from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.store_values import record_basics

DATA = Path(__file__).parents[1] / "data"


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


def test_an_upgrade_says_what_it_would_do_and_where_the_copy_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shutil.copy(DATA / "store_v3.sqlite", tmp_path / "old.sqlite"))
    assert nuwa("db", "upgrade", "--db", path, "--dry-run") == 0
    assert capsys.readouterr().out == "schema 0003: would be upgraded to 0005, after a copy beside it\n"
    assert [file.name for file in tmp_path.iterdir()] == ["old.sqlite"]
    assert nuwa("db", "upgrade", "--db", path, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["is_current"], answer["was"], answer["backup"]) == (True, "0003", f"{path}.0003.bak")
    assert nuwa("db", "upgrade", "--db", path) == 0
    assert capsys.readouterr().out == f"up to date: sqlite:///{path}\n"
    shutil.copy(DATA / "store_v3.sqlite", path)
    assert nuwa("db", "check", "--db", path) == 0  # which upgrades too
    assert f"as it was before: {path}.0003.2.bak" in capsys.readouterr().err


def test_a_database_is_copied_and_a_full_one_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(tmp_path / "a.sqlite"), str(tmp_path / "b.sqlite")
    with open_store(source) as store:
        record_basics(store)
    assert nuwa("db", "copy", source, target, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["target"]) == ("nuwa.db/1", f"sqlite:///{target}")
    assert answer["rows"] == answer["added"] == sum(table["rows"] for table in answer["tables"]) > 5
    assert nuwa("db", "copy", source, target, "--replace") == 2  # nobody can be asked
    assert f"Delete the {answer['rows']} rows of sqlite:///{target}?" in capsys.readouterr().err
    assert nuwa("db", "copy", source, target, "--replace", "-y") == 0
    assert f"{answer['rows']} rows in both, {answer['rows']} of them written now" in capsys.readouterr().err
    assert nuwa("db", "copy", str(tmp_path / "none.sqlite"), target) == 2
    assert "name the database to copy first" in capsys.readouterr().err
    assert nuwa("db", "copy", source, target, "--db", source) == 2
