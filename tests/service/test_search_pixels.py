"""A search for a net that answers for every pixel, from images and masks to a bundle that runs."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nuwa_search
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.toy_masks import CLASSES, write_masks
from tests.support.toy_search import ToySearch, toy_search_in

QUICK = functools.partial(ProfileSettings, num_fit=8, repeats=2, num_sessions=2)
"""Few whole nets: what is profiled here is that maps are. Images have the base's own size, whose blocks are in the
database already: at another the profile takes most of the test's time."""


@pytest.fixture
def search(
    tmp_path: Path,
    profiled_db: Path,
    toy_base: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> ToySearch:
    images = write_masks(tmp_path / "masks", num_train=15, num_test=4)
    monkeypatch.setattr("nuwa_search.predictors.device_predictor.ProfileSettings", lambda **_: QUICK(num_heldout=2))
    place = toy_search_in(tmp_path, profiled=profiled_db, base=toy_base, images=images, capsys=capsys)
    return place.with_args("--study", "pixels", "--budget-ms", "2.5", "--finetune-steps", "2")


def test_pixels_from_masks_to_a_bundle(search: ToySearch, capsys: pytest.CaptureFixture[str]) -> None:
    answer, told = search.done("--trials", "2")
    assert "a linear answer per patch, scaled to the picture" in told
    subnet, base = answer["subnet"], answer["base"]
    assert answer["metric"] == "miou"
    assert (subnet["top1"], base["top1_restricted"], subnet["top1_interval"]) == (None, None, None)
    for part in (subnet, base):
        known = [value for value in part["iou"].values() if value is not None]
        assert part["miou"] == pytest.approx(sum(known) / len(known))
        assert part["miou_interval"][0] <= part["miou"] <= part["miou_interval"][1]
        assert list(part["iou"]) == list(CLASSES)
    assert subnet["measured_latency_ms"] < 2.5 < base["latency_ms"]

    steps = {row["step"]: row for row in answer["steps"]}
    assert list(steps) == ["base", "derived", "distilled"]
    assert steps["base"]["miou"] == base["miou"]
    assert (steps["derived"]["miou"], steps["distilled"]["miou"]) == (subnet["miou_derived"], subnet["miou"])
    assert steps["distilled"]["size_mb"] == pytest.approx(2 * subnet["params"] / 1e6), "FP16 on this board"
    assert steps["distilled"]["latency_ms"] < steps["base"]["latency_ms"]

    compared = json.loads((search.bundle / "compared" / "compared.json").read_text())
    assert compared["colours"]["background"] == "#000000"
    assert len(set(compared["colours"].values())) == len(CLASSES)
    listed = compared["images"]
    assert [row["classes"] for row in listed[:2]] == [["background", "square"], ["background", "stripe"]], "in turn"
    for row in listed:
        for iou, mean in ((row["iou"], row["miou"]), (row["iou_base"], row["miou_base"])):
            assert list(iou) == row["classes"]
            assert sum(iou.values()) / len(iou) == pytest.approx(mean)
        assert Path(row["image"]).parent == search.images / "test" / "images"
        with Image.open(search.bundle / "compared" / row["picture"]) as picture:
            assert picture.size == (4 * 32 + 3 * 6, 24), "image, truth, base and winner"

    with open_store(search.db) as store:
        kinds = {score.kind: score for score in store.scores(subnet["subnet_id"]) if score.split == "test"}
    assert kinds["miou"].value == pytest.approx(subnet["miou"])
    assert "top1" not in kinds

    evaluated = ["evaluate", str(search.bundle), "--data", str(search.images), "--json"]
    assert run(cli, evaluated, prog_name="nuwa") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["top1"], found["num_images"]) == ("miou", None, 4)
    assert found["miou"] == pytest.approx(subnet["miou"])
    assert run(cli, ["verify", str(search.bundle), "--json"], prog_name="nuwa") == 0
    capsys.readouterr()

    with pytest.raises(NuwaError, match="answers for every pixel"):
        nuwa_search.load(search.bundle)
    frame = np.asarray(Image.open(search.images / "test" / "images" / "1.png"))
    (known_labels,) = nuwa_search.load_segmenter(search.bundle).predict(frame)

    line = [sys.executable, str(search.bundle / "run.py"), str(search.images / "test" / "images"), "--json"]
    done = subprocess.run([*line, "-o", str(search.folder / "out")], capture_output=True, text=True, check=True)
    for one in json.loads(done.stdout)["images"]:
        labels = np.asarray(Image.open(one["labels"]))
        assert labels.shape == (24, 32), "at the picture's own size"
        if one["image"].endswith("1.png"):
            assert np.array_equal(labels, known_labels.labels)
        with Image.open(one["overlay"]) as overlay:
            assert overlay.size == (32, 24)
        assert sum(one["shares"].values()) == pytest.approx(1)

    for path in (search.images / "test" / "masks").iterdir():
        Image.new("L", (32, 24), IGNORED).save(path)
    assert run(cli, evaluated, prog_name="nuwa") == 2, "and no mIoU of 0"
    assert "every pixel of the masks of the test images" in capsys.readouterr().err
    (search.images / "classes.txt").write_text("background\nsquare\nline\n")
    assert run(cli, evaluated, prog_name="nuwa") == 2
    assert "the bundle tells background, square, stripe apart" in capsys.readouterr().err


def test_what_says_nothing_of_pixels_is_refused_before_anything_is_measured(
    search: ToySearch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, said in (
        (("--metric", "balanced"), "mIoU counts there"),
        (("--pool", "avg"), "--pool is for classes of whole images"),
        (("--img-sizes", "8"), "nets that answer for every pixel are searched at the base's own image size"),
        (("--small-model", "5"), "--small-model is for classes of whole images"),
        (("--classes", "circle"), "unknown class 'circle'"),
    ):
        assert search.code(*more) == 2, more
        assert said in capsys.readouterr().err, more
