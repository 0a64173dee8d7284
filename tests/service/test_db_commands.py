"""``nuwa db`` and ``nuwa cache`` on the command line: what they say, ask and answer."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.revisions import HEAD
from nuwa_search.store.store import open_store
from tests.support.store_values import NANO, record_basics

DATA = Path(__file__).parents[1] / "data"


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


def test_an_upgrade_says_what_it_would_do_and_where_the_copy_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shutil.copy(DATA / "store_v3.sqlite", tmp_path / "old.sqlite"))
    assert nuwa("db", "upgrade", "--db", path, "--dry-run") == 0
    assert capsys.readouterr().out == f"schema 0003: would be upgraded to {HEAD}, after a copy beside it\n"
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


def test_pruning_says_what_goes_and_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "nuwa.sqlite")
    with open_store(path) as store:
        record_basics(store)
        claim = store.start_search("first", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
        store.add_event("first", "state")
        store.finish_search(claim, "infeasible")
    common = ("db", "prune", "--db", path, "--cache-dir", str(tmp_path / "cache"))
    assert nuwa(*common, "--older", "1d", "-y", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == {}
    time.sleep(0.01)
    assert nuwa(*common, "--older", "0.001s", "--dry-run") == 0
    assert capsys.readouterr().out.split() == ["table", "rows", "nuwa_events", "1", "nuwa_searches", "1"]
    assert nuwa(*common, "--older", "0.001s") == 2
    error = capsys.readouterr().err
    assert "search first, whole" in error
    assert "Delete these 2 rows? There is no terminal to ask on" in error
    assert nuwa(*common, "--older", "0.001s", "-y", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["studies"], answer["rows"]) == (["first"], {"nuwa_events": 1, "nuwa_searches": 1})
    assert (answer["is_deleted"], answer["is_compact"]) == (True, True)
    assert nuwa("db", "prune", "--db", path, "--older", "soon") == 2
    assert nuwa("db", "prune", "--db", path) == 2


def test_caches_are_listed_and_cleared_by_name_and_age(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, path = tmp_path / "cache", str(tmp_path / "nuwa.sqlite")
    for name, age_days in (("derive/gram/a.safetensors", 40), ("derive/gram/b.safetensors", 1), ("search/c.part", 0)):
        file = cache / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(500_000))
        os.utime(file, (0, time.time() - 86400 * age_days))
    for study in ("runs", "over"):
        (cache / "finetune" / study).mkdir(parents=True)
        (cache / "finetune" / study / "checkpoint").write_bytes(bytes(1000))
    (cache / "of-mine.txt").write_text("no cache of this program")
    with open_store(path) as store:
        record_basics(store)
        store.start_search("runs", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    common = ("--db", path, "--cache-dir", str(cache))
    assert nuwa("cache", "ls", *common, "--json") == 0
    shown = {row["cache"]: row for row in json.loads(capsys.readouterr().out)["caches"]}
    assert (shown["derive"]["entries"], shown["derive"]["size_mb"]) == (2, 1.0)
    assert round(shown["derive"]["oldest_days"]) == 40
    assert nuwa("cache", "clear", "derive", "--older", "30d", *common) == 2
    assert "Delete these 1 entries, 0.5 MB" in capsys.readouterr().err
    assert nuwa("cache", "clear", "derive", "--older", "30d", *common, "-y") == 0
    assert [file.name for file in (cache / "derive" / "gram").iterdir()] == ["b.safetensors"]
    assert nuwa("cache", "clear", *common, "-y") == 0  # what runs, and what may be being written, stays
    left = sorted(str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file())
    assert left == ["finetune/runs/checkpoint", "of-mine.txt", "search/c.part"]
    assert nuwa("cache", "clear", "derived", *common) == 2
    assert "did you mean 'derive'" in capsys.readouterr().err
