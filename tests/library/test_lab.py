"""The library on the toy base: a search from Python, and the verbs around it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nuwa_search
from nuwa_search.search.result import Fastest
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_jobs import TOY_BUDGET_MS


def own_images(images: Path) -> dict[str, list[np.ndarray]]:
    """Read the test images of each class as frames."""
    return {
        folder.name: [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())]
        for folder in sorted((images / "test").iterdir())
    }


def test_from_images_to_frames(tmp_path: Path, toy_db: Path, toy_base: Path, toy_images: Path) -> None:
    asked: dict[str, Any] = {
        "base": toy_base,
        "data": toy_images,
        "trials": 3,
        "finetune_steps": 1,
        "output": tmp_path / "bundle",
    }
    told: list[nuwa_search.Event] = []

    def stop_at_a_trial(event: nuwa_search.Event) -> None:
        told.append(event)
        if event.kind == "trial":
            raise KeyboardInterrupt

    with nuwa_search.open(toy_db, cache_dir=tmp_path / "cache") as lab:
        with pytest.raises(KeyboardInterrupt) as stopped:
            lab.search(budget_ms=TOY_BUDGET_MS, study="mine", callback=stop_at_a_trial, **asked)
        assert "lab.search(study='mine', resume=True)" in "".join(stopped.value.__notes__)
        found = lab.search(study="mine", resume=True, callback=told.append)
        assert {event.kind for event in told} == {"stage", "step", "count", "trial", "finetune"}
        assert all(str(event) for event in told)
        assert [event.stage for event in told if event.kind == "stage"][-1] == "verify"

        front = found.front.to_frame()
        assert list(front.columns) == list(found.front.columns)
        assert len(front) >= 1
        assert (np.diff(front["predicted_latency_ms"]) > 0).all()
        assert (np.diff(front["kl_to_teacher"]) < 0).all()

        frame = lab.query(device="jetson-nano", classes=["red", "green", "blue"]).to_frame()
        assert run(cli, ["query", "--device", "jetson-nano", "--db", str(toy_db), "--json"], prog_name="nuwa") == 0
        assert found.winner.subnet_id in set(frame["subnet_id"])

        assert lab.verify(found.bundle.dir).is_good
        scores = lab.evaluate(found.bundle.dir, data=toy_images)
    model = nuwa_search.load(found.bundle.dir)
    frames = own_images(toy_images)
    right = [answer.label == name for name, some in frames.items() for answer in model.predict(some)]
    assert np.mean(right) == pytest.approx(scores.top1, abs=1.5 / len(right))  # a tie may fall either way
    assert found.winner.arch.arch_id == found.to_json()["subnet"]["arch_id"]


def test_a_query_is_the_command_lines(toy_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with nuwa_search.open(toy_db) as lab:
        rows = lab.query("latencies", limit=3)
        assert run(cli, ["query", "latencies", "--limit", "3", "--db", str(toy_db), "--json"], prog_name="nuwa") == 0
        assert json.loads(capsys.readouterr().out) == rows.to_json()
        assert len(rows.to_frame()) == len(rows) == 3
        empty = lab.query(max_ms=1e-6)
        assert not empty
        assert list(empty.to_frame().columns) == list(empty.columns)
        with pytest.raises(nuwa_search.NuwaError, match="--min-top1 says nothing about latencies"):
            lab.query("latencies", min_top1=0.5)


def test_no_subnet_is_an_error_that_names_the_fastest(
    tmp_path: Path, toy_db: Path, toy_base: Path, toy_images: Path
) -> None:
    with nuwa_search.open(toy_db, cache_dir=tmp_path / "cache") as lab:
        with pytest.raises(nuwa_search.NoSubnetError) as no:
            lab.search(budget_ms=1e-3, base=toy_base, data=toy_images, output=tmp_path / "bundle")
        ending = no.value.found.result.ending
        assert isinstance(ending, Fastest)
        predicted = lab.predict(ending.arch, base=toy_base)
        assert ending.predicted_latency_ms == pytest.approx(predicted.predicted_latency_ms)
        assert no.value.found.to_json()["feasible"] is False
        with pytest.raises(nuwa_search.NoAnswerError, match="shipped nothing"):
            _ = no.value.found.winner


def test_verbs_refuse_before_they_replace_or_guess(
    tmp_path: Path, toy_db: Path, toy_base: Path, toy_images: Path
) -> None:
    with nuwa_search.open(toy_db, cache_dir=tmp_path / "cache") as lab:
        arch = nuwa_search.load_base(str(toy_base)).arch
        made = lab.derive(arch, output=tmp_path / "cut", base=toy_base, data=toy_images)
        assert made.kl_to_teacher == pytest.approx(0, abs=1e-4)  # the whole base
        with pytest.raises(nuwa_search.NuwaError, match="holds a bundle already"):
            lab.derive(arch, output=tmp_path / "cut", base=toy_base, data=toy_images)
        with pytest.raises(nuwa_search.NuwaError, match="is not there yet"):
            nuwa_search.load(tmp_path / "cut")
        exported = lab.export(tmp_path / "cut", device="jetson-nano")
        assert exported.provenance == "emulated"
        with pytest.raises(nuwa_search.NuwaError, match="a frame is"):
            nuwa_search.load(tmp_path / "cut").predict([np.zeros((4, 4), np.uint8)])
        with pytest.raises(nuwa_search.NuwaError, match="is exported for jetson-nano"):
            lab.export(tmp_path / "cut", device="host")
        with pytest.raises(nuwa_search.NuwaError, match="needs a budget"):
            lab.search(base=toy_base, data=toy_images)
        with pytest.raises(nuwa_search.NuwaError, match="unknown option of a search"):
            lab.search(budget_ms=1.0, trails=3)  # type: ignore[call-arg]


def test_notes_are_warnings_unless_somebody_listens(toy_db: Path) -> None:
    with nuwa_search.open(toy_db) as lab, pytest.warns(nuwa_search.NuwaWarning, match="left out"):
        lab._tell(["an image was left out"])
    heard: list[str] = []
    with nuwa_search.open(toy_db, say=heard.append) as lab:
        lab._tell(["an image was left out"])
    assert heard == ["an image was left out"]
