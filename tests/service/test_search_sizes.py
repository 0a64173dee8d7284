"""A search that chooses the image's size: the winner is made, shipped and opened again at its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import nuwa_search
from nuwa_search.core.arch import Arch, arch_from_dict, dict_from_arch
from nuwa_search.core.base import load_base
from nuwa_search.core.images import ImageSet, pixels
from nuwa_search.core.img_size import both_sides
from nuwa_search.core.logits import normalise
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.service.api.predictions import latency_by_block
from nuwa_search.service.cli.main import cli, run
from nuwa_search.service.cli.search_view import side_by_side
from nuwa_search.store.store import open_store
from tests.core.test_images import encode, picture
from tests.support.toy_bundle import write_toy_bundle
from tests.support.toy_search import ToySearch

OWN_SIZE = 25
"""Tokens of the toy base at 16x24 pixels, the class token among them."""


@pytest.fixture
def only_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict nets of the own size ten times as slow: on so small a base launches hide what fewer tokens save."""
    predict = LatencyPredictor._predict

    def slowed(self: LatencyPredictor, archs: Sequence[Arch]) -> Prediction:
        found = predict(self, archs)
        factor = np.array([10.0 if arch.num_tokens == OWN_SIZE else 1.0 for arch in archs])
        return Prediction(found.value * factor, found.lower * factor, found.upper * factor)

    monkeypatch.setattr(LatencyPredictor, "_predict", slowed)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profile with as little as makes a predictor of two sizes: how good it is, is tested elsewhere."""
    little = partial(ProfileSettings, num_fit=18, repeats=1, heldout_repeats=1, num_sessions=4, max_rows=8)
    monkeypatch.setattr("nuwa_search.predictors.device_predictor.ProfileSettings", little)


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = run(cli, [str(word) for word in words], prog_name="nuwa")
    told = capsys.readouterr()
    assert code == 0, told.err
    answer: dict[str, Any] = json.loads(told.out)
    return answer


@pytest.mark.usefixtures("only_smaller")
def test_a_smaller_winner_is_shipped_and_opened_again_at_its_size(
    toy_search: ToySearch, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = 0.9 * asked(capsys, "measure", toy_search.base, "--db", toy_search.db, "--json")["latency_ms"]["median"]
    sizes = ["--img-size", "16x24", "--img-sizes", "8x12,16x24"]
    answer, _ = toy_search.done("--budget-ms", f"{budget:.3f}", *sizes, "--trials", "5", "--finetune-steps", "3")

    assert answer["feasible"]
    assert answer["subnet"]["img_size"] == answer["subnet"]["arch"]["img_size"] == [8, 12]
    own, small = answer["base"]["at_sizes"]
    assert (own["img_size"], own["kl_to_teacher"], own["top1"]) == ([16, 24], 0.0, answer["base"]["top1_restricted"])
    assert (small["img_size"], small["num_tokens"]) == ([8, 12], 7)
    assert small["kl_to_teacher"] > 0
    assert small["num_images"] == answer["task"]["num_test"]
    assert "at 8x12 px, uncut" in {row["figure"] for row in side_by_side(answer)}

    runs_on_own_images(toy_search.bundle, (8, 12))
    places = ["--db", toy_search.db, "--json"]
    cache = ["--cache-dir", toy_search.folder / "cache"]
    identity = answer["subnet"]["subnet_id"]
    again = asked(capsys, "derive", "--subnet", identity, "-o", toy_search.folder / "again", *cache, *places)
    assert again["is_same"]
    tuned = asked(capsys, "finetune", toy_search.bundle, "--finetune-steps", "2", *cache, *places)
    assert tuned["steps"] == 2
    scored = asked(capsys, "evaluate", toy_search.bundle, "--data", toy_search.images, *places)
    assert scored["num_images"] == answer["task"]["num_test"]
    whole = toy_search.folder / "base.json"
    whole.write_text(json.dumps(dict_from_arch(load_base(str(toy_search.base), img_size=(16, 24)).arch)))
    predicted = asked(capsys, "predict", whole, "--img-size", "8x12", *places)
    assert predicted["predicted_latency_ms"] == pytest.approx(small["predicted_latency_ms"], rel=1e-6)
    assert predicted["arch_id"] == small["arch_id"]
    with open_store(toy_search.db) as store:
        times = latency_by_block(
            store.load_predictor(predicted["predictor_id"]), arch_from_dict(answer["subnet"]["arch"])
        )
    assert times is not None
    assert len(times.blocks) == 3
    rows = asked(capsys, "query", "--db", toy_search.db, "--json")["rows"]
    assert [row["img_size"] for row in rows if row["study"]] == [[8, 12]] * sum(bool(row["study"]) for row in rows)
    assert any(row["study"] for row in rows)


def runs_on_own_images(folder: Path, size: tuple[int, int]) -> None:
    """Hold a bundle's program on a picture of its own against the weights in PyTorch."""
    bundle = read_bundle(folder)
    assert bundle.preprocess.img_size == bundle.arch.img_size == size
    graph = onnx.load(folder / "model.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, *size]
    assert f"{both_sides(size)} images" in (folder / "README.md").read_text()
    image = folder.parent / "own.png"
    image.write_bytes(encode(picture(57, 91)))
    line = [sys.executable, str(folder / "run.py"), str(image), "--json"]
    (said,) = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)["images"]
    made = pixels(ImageSet([image], np.zeros(1, dtype=np.int64), ("",), "here"), bundle.preprocess)
    with torch.inference_mode():
        scores = torch.softmax(bundle.load_model()(normalise(torch.from_numpy(made), bundle.preprocess)), dim=1)[0]
    (known,) = nuwa_search.load(folder).predict(np.asarray(picture(57, 91)))
    assert known.scores == pytest.approx(scores.tolist(), abs=1e-5)
    assert said["label"] == known.label


def test_a_base_is_evaluated_at_another_size_and_a_bundle_is_not(
    toy_search: ToySearch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", toy_search.base, "--data", toy_search.images, "--json"]
    own, small = asked(capsys, *words), asked(capsys, *words, "--img-size", "8")
    assert own["num_images"] == small["num_images"]
    assert asked(capsys, *words, "--img-size", "16") == own
    write_toy_bundle(tmp_path / "toy-bundle", toy_search.base, toy_search.images)
    code = run(cli, ["evaluate", str(tmp_path / "toy-bundle"), "--img-size", "8"], prog_name="nuwa")
    assert code == 2
    assert "takes images of 16 pixels, and --img-size says 8" in capsys.readouterr().err


def test_one_size_alone_is_the_search_of_before(toy_search: ToySearch) -> None:
    answer, _ = toy_search.done("--budget-ms", "2.5", "--trials", "3", "--no-finetune", "--no-deploy")
    assert answer["base"]["at_sizes"] == []
    assert answer["subnet"]["img_size"] == answer["base"]["img_size"] == 16


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ("10", "images of 10 pixels cannot be cut into patches of 4"),
        ("32,16", "32 pixels is larger than the base's 16"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_any_image(toy_search: ToySearch, sizes: str, told: str) -> None:
    code = toy_search.code("--budget-ms", "2.5", "--img-sizes", sizes)
    assert code == 2
    assert told in toy_search.capsys.readouterr().err


def test_sizes_that_a_pinned_predictor_does_not_know_are_refused(
    toy_search: ToySearch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = asked(capsys, "query", "devices", "--db", toy_search.db, "--json")["rows"]
    (pinned,) = {row["predictor_id"] for row in rows if row["predictor_id"]}
    code = toy_search.code("--budget-ms", "2.5", "--img-sizes", "8", "--predictor", pinned)
    told = capsys.readouterr().err
    assert code == 2
    assert "the latency predictor of jetson-nano knows images of 16 pixels only" in told
    assert f"jetson-nano --base {toy_search.base} --img-sizes 8" in told


def test_a_dry_run_names_the_sizes_that_would_be_searched(toy_search: ToySearch) -> None:
    own, _ = toy_search.done("--budget-ms", "2.5", "--dry-run")
    several, _ = toy_search.done("--budget-ms", "2.5", "--dry-run", "--img-sizes", "8,12")
    large, _ = toy_search.done("--budget-ms", "2.5", "--dry-run", "--img-size", "48")
    assert (own["img_sizes_searched"], several["img_sizes_searched"]) == ([16], [16, 12, 8])
    assert large["img_sizes_searched"] == [48]
    assert several["seconds"]["profile"] > own["seconds"]["profile"]


def test_a_base_of_many_tokens_chooses_between_two_sizes(toy_search: ToySearch) -> None:
    """With all that large bases have: explorer and linearised changes."""
    more = ["--img-size", "48", "--img-sizes", "48,36", "--trials", "3", "--no-finetune", "--no-deploy"]
    answer, told = toy_search.done("--budget-ms", "2.6", *more)
    assert [one["img_size"] for one in answer["base"]["at_sizes"]] == [48, 36]
    assert [one["num_tokens"] for one in answer["base"]["at_sizes"]] == [145, 82]
    assert all(one["top1_search"] is not None for one in answer["base"]["at_sizes"])
    assert answer["subnet"]["img_size"] in (48, 36)
    assert "at 36 px, uncut" in {row["figure"] for row in side_by_side(answer)}
    assert answer["feasible"], told
