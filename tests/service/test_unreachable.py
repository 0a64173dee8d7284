"""Limits that nothing can keep: told before an image is decoded, and a resumed search measures nothing twice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core import tensors
from nuwa_search.core.base import load_base
from nuwa_search.core.images import ImageSet
from nuwa_search.latency.devices.find import find_device
from nuwa_search.predictors.device_predictor import find_device_predictor
from nuwa_search.search.feasible import fastest_arch
from nuwa_search.search.keep import search_space
from nuwa_search.search.space import space_from_base
from nuwa_search.store.store import open_store
from tests.support.toy_images import write_colours
from tests.support.toy_search import ToySearch


@pytest.fixture
def search(toy_search: ToySearch) -> ToySearch:
    return toy_search.with_args("--no-finetune", "--trials", "4")


@pytest.fixture
def closed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every decoding of an image fail."""

    def refuse(images: ImageSet, preprocess: object) -> np.ndarray[Any, Any]:
        raise AssertionError(f"{len(images)} images were decoded")

    monkeypatch.setattr(tensors, "pixels_and_turns", refuse)


@pytest.mark.usefixtures("closed_images")
def test_a_budget_that_nothing_reaches_is_refused_before_an_image_is_decoded(search: ToySearch) -> None:
    code, answer, told = search.run("--budget-ms", "0.001", "--study", "tiny")
    assert code == 1
    assert answer["feasible"] is False
    with open_store(search.db) as store:
        base = load_base(str(search.base))
        predictor = find_device_predictor(store, find_device("jetson-nano", store), base.arch).predictor
        stored = store.search("tiny")
        assert stored is not None
        assert (stored.state, stored.result) == ("infeasible", answer)
    fastest = fastest_arch(space_from_base(base.arch), predictor)
    assert answer["fastest"]["arch_id"] == fastest.arch_id
    assert answer["fastest"]["predicted_latency_ms"] == float(predictor.predict([fastest]).value[0])
    assert "the fastest reachable is predicted at" in told
    assert answer["task"]["num_train"] == 72


@pytest.mark.usefixtures("closed_images")
def test_a_memory_limit_that_nothing_keeps_is_refused_before_an_image_is_decoded(search: ToySearch) -> None:
    code, answer, told = search.run("--budget-ms", "50", "--max-memory-mb", "0.001")
    assert code == 1
    assert answer["feasible"] is False
    assert "MB of peak memory" in told


@pytest.mark.usefixtures("closed_images")
def test_classes_the_base_does_not_know_are_refused_as_early(search: ToySearch, tmp_path: Path) -> None:
    images = write_colours(tmp_path / "other", ("cyan", "magenta", "yellow", "black"))
    code, answer, _ = search.run("--budget-ms", "0.001", "--data", str(images))
    assert code == 1
    assert answer["task"]["head_fitted"] is True
    assert answer["fastest"]["predicted_latency_ms"] > 0.001


def _reachable_ms(search: ToySearch, *keep: str) -> float:
    """The least budget that a space reaches, by the profile's predictor."""
    with open_store(search.db) as store:
        base = load_base(str(search.base))
        predictor = find_device_predictor(store, find_device("jetson-nano", store), base.arch).predictor
    fastest = fastest_arch(search_space(base.arch, keep=keep), predictor)
    return float(predictor.predict([fastest]).upper[0])


@pytest.mark.usefixtures("closed_images")
def test_kept_parts_that_stand_in_the_way_are_told(search: ToySearch) -> None:
    free_ms, kept_ms = _reachable_ms(search), _reachable_ms(search, "blocks.1", "*.attn")
    assert kept_ms > 1.2 * free_ms
    between = f"{0.5 * (free_ms + kept_ms):.4f}"
    keep = ["--keep", "blocks.1,*.attn"]
    code, answer, told = search.run("--budget-ms", between, *keep)
    assert code == 1
    assert answer["kept"] == ["blocks.0.attn", "blocks.1.attn", "blocks.1.mlp", "blocks.2.attn"]
    assert "--keep blocks.1 *.attn stands in the way: without it the fastest is predicted at" in told
    assert "hint: keep fewer parts, or give a budget of at least" in told
    code, _, told = search.run("--budget-ms", f"{0.5 * free_ms:.4f}", *keep)
    assert code == 1
    assert "without --keep blocks.1 *.attn nothing would fit either" in told


@pytest.mark.usefixtures("closed_images")
def test_a_glob_that_names_nothing_is_refused_before_an_image_is_decoded(
    search: ToySearch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--dry-run"]):
        assert search.code("--budget-ms", "50", "--keep", "blocks.7", *more) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "error: --keep blocks.7: no part of the base is called so" in captured.err
        assert "hint: its parts: embed, blocks.0 … blocks.2, blocks.0.attn … blocks.2.attn" in captured.err


def test_a_resumed_search_adds_no_measurement_of_the_base(search: ToySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    from nuwa_search.search.job import search as workflow

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def num_measured() -> int:
        with open_store(search.db) as store:
            return len(store.measurements(find_device("jetson-nano", store).device_id))

    before = num_measured()
    monkeypatch.setattr(workflow, "settle", interrupt)
    for more in ([], ["--resume"]):
        assert search.code("--budget-ms", "50", "--study", "cut", *more) == 130
        assert num_measured() == before + 1
