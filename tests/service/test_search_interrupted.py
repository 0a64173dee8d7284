"""Ctrl-C as each stage begins: 130, the command that goes on, nothing half written; and it goes on to the end."""

import shlex
import shutil
from pathlib import Path

import pytest

from nuwa_search.core.settings import without_secret
from nuwa_search.search.job.clock import StageClock
from nuwa_search.search.stages import STAGES
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import run
from nuwa_search.store.store import open_store


def test_a_search_that_is_stopped_as_each_stage_begins_goes_on_as_it_says(
    tmp_path: Path,
    profiled_db: Path,
    toy_base: Path,
    toy_images: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    db, bundle = str(tmp_path / "my nuwa.sqlite"), tmp_path / "out" / "bundle"
    shutil.copy(profiled_db, db)
    words = ["--budget-ms", "50", "--base", str(toy_base), "--data", str(toy_images), "--db", db, "--study", "cut"]
    words += ["--trials", "4", "--finetune-steps", "4", "--cache-dir", str(tmp_path / "cache"), "-o", str(bundle)]
    begin = StageClock.stage

    def stop_at(wanted: str) -> None:
        def stage(self: StageClock, name: str) -> None:
            begin(self, name)
            if name == wanted:
                raise KeyboardInterrupt

        monkeypatch.setattr(StageClock, "stage", stage)

    for wanted in STAGES:
        stop_at(wanted)
        assert run(command, words, prog_name="nuwa-search") == 130
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        last = told.err.rstrip().splitlines()[-1].strip()
        assert last.startswith("nuwa-search --study cut --resume")
        words = shlex.split(last)[1:]
        with open_store(db) as store:
            assert store.studies.find()[0]["state"] == "interrupted"
        assert not bundle.exists()
        left = [path.name for path in tmp_path.rglob("*") if "partial" in path.name or path.suffix in (".tmp", ".part")]
        assert left == []
    monkeypatch.undo()
    assert run(command, [*words, "--json"], prog_name="nuwa-search") == 0
    assert (bundle / "certificate.json").exists()
    assert without_secret(db) in words
