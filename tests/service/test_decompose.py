"""``nuwa decompose`` on the toy base: two boards, three modes, the rival, and a second call that finds all done."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.collaborate.layout import read_collaboration
from nuwa_search.search.collaborate.find_part import find_part
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.request import request_from_dict
from nuwa_search.service.cli.commands.decompose import command
from nuwa_search.service.cli.commands.predict import command as predict
from nuwa_search.service.cli.main import run
from nuwa_search.store.store import open_store
from tests.support.page_collaboration import collaboration_answer
from tests.support.toy_images import write_four_colours

CLASSES = {"blue", "green", "grey", "red"}


def decomposed(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = run(command, [*words, "--json"], prog_name="nuwa decompose")
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else {}, told.err


def shape_of(value: Any) -> Any:
    """Names of the fields of a document, and of the first entry of each list."""
    if isinstance(value, dict):
        return {name: shape_of(inner) for name, inner in value.items()}
    return [shape_of(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_two_boards_answer_together_and_one_alone_is_told_beside(
    tmp_path: Path, toy_base: Path, toy_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_four_colours(tmp_path / "images")
    words = ["--devices", "jetson-nano,jetson-nano", "--budget-ms", "2.4", "--base", str(toy_base)]
    words += ["--data", str(images), "--trials", "1", "--finetune-steps", "2", "--db", str(toy_db)]
    words += ["--study", "toy", "-o", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    code, answer, told = decomposed(words, capsys)
    assert code == 0, told
    assert answer["schema"] == "nuwa.decompose/1"
    assert answer["feasible"] is True
    assert shape_of(answer) == shape_of(collaboration_answer("base", ("a", "b", "c"), subnet_id=""))

    parts = answer["sub_models"]
    assert [part["board"] for part in parts] == ["jetson-nano-1", "jetson-nano-2"]
    assert {name for part in parts for name in part["classes"]} == CLASSES
    assert all(len(part["classes"]) == 2 and part["latency_ms"] <= 2.4 for part in parts)
    fuse = next(mode for mode in answer["modes"] if mode["mode"] == "fuse")
    assert {mode["mode"] for mode in answer["modes"]} == {"fuse", "any", "route"}
    assert max(part["latency_ms"] for part in parts) < fuse["predicted_p50_ms"] <= 2.4
    assert fuse["bytes_per_image"] == 2 * (16 * 16 * 3 + 48 * 4)
    assert all(mode["num_images"] == 40 and mode["split"] == "test" for mode in answer["modes"])

    rival = answer["rival"]
    assert rival["is_better"] == (rival["top1_search"] >= answer["modes"][0]["top1_search"])
    assert answer["shipped"] == ("rival" if rival["is_better"] else "collaboration")
    assert read_bundle(Path(rival["dir"])).subnet_id == rival["subnet_id"]
    collaboration, fusion = read_collaboration(Path(answer["dir"]))
    assert collaboration.labels == tuple(answer["classes"])
    assert fusion.vector_dims == (48, 48)
    assert collaboration.rival is not None

    with open_store(str(toy_db)) as store:
        (row,) = store.collaborations.find(device="jetson-nano")
        assert row["content"] == answer
        assert (row["study"], row["shipped"], row["devices"]) == ("toy", answer["shipped"], ["jetson-nano"] * 2)

    assert run(predict, [str(tmp_path / "out"), "--json", "--db", str(toy_db)], prog_name="nuwa predict") == 0
    by_folder = json.loads(capsys.readouterr().out)["modes"]
    figures = ("predicted_p50_ms", "predicted_p95_ms", "predicted_mean_ms", "predicted_images_per_s")
    for way, mode in zip(by_folder, answer["modes"], strict=True):
        assert [way[name] for name in figures] == pytest.approx([mode[name] for name in figures])
    assert run(predict, ["toy", "--network", "10mbit,5ms", "--json", "--db", str(toy_db)], prog_name="nuwa") == 0
    on_slow = json.loads(capsys.readouterr().out)
    assert on_slow["is_within_budget"] is False
    assert on_slow["modes"][0]["predicted_p50_ms"] > by_folder[0]["predicted_p50_ms"] + 9

    again, same, told = decomposed(words, capsys)
    assert again == 0, told
    assert told.count("found before") == 3
    assert [mode["top1"] for mode in same["modes"]] == [mode["top1"] for mode in answer["modes"]]

    with open_store(str(toy_db)) as store:
        begun = store.search("toy-part-1")
        assert begun is not None
        other = replace(request_from_dict(begun.settings), trials=2)
        with pytest.raises(NuwaError, match=r"study toy-part-1, of it, was begun with other options"):
            find_part(other, what="it", study="toy-part-1", store=store, cache_dir=tmp_path, hooks=Hooks())


def test_what_cannot_be_is_told_before_anything_is_computed(
    tmp_path: Path, toy_base: Path, toy_images: Path, toy_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--base", str(toy_base), "--data", str(toy_images), "--db", str(toy_db), "-o", str(tmp_path / "out")]
    two = ["--devices", "jetson-nano,jetson-nano"]
    for words, code, told in (
        ([*base, "--budget-ms", "3"], 2, "--devices"),
        ([*base, *two], 2, "--budget-ms"),
        ([*base, *two, "--budget-ms", "3@jetson-nano"], 2, "its devices in --devices"),
        ([*base, "--devices", "jetson-nana", "--budget-ms", "3"], 2, "jetson-nana"),
        ([*base, *two, "--budget-ms", "3", "--sub-models", "4"], 2, "leave one of them without a class"),
        ([*base, "--devices", "jetson-nano", "--budget-ms", "3", "--network", "10mbit,5ms"], 1, "go to the network"),
    ):
        found, _, err = decomposed(words, capsys)
        assert (found, told in err) == (code, True), err
    assert not (tmp_path / "out").exists()
