"""A dry run tells what a search would do and how long it would take, and decodes hardly anything for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.base import load_base
from nuwa_search.core.decode_image import decode_image
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.job import time_estimate
from nuwa_search.search.job.inputs import open_sources, record_inputs
from nuwa_search.search.request import SearchRequest, dict_from_request
from nuwa_search.search.stages import STAGES
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import open_store
from tests.support.toy_search import ToySearch


@pytest.fixture
def dry_run(toy_search: ToySearch) -> ToySearch:
    return toy_search.with_args("--budget-ms", "50", "--trials", "4", "--finetune-steps", "8", "--dry-run")


def request_of(dry_run: ToySearch) -> SearchRequest:
    """Return what it asks for."""
    return SearchRequest(
        budget_ms=50.0,
        base=str(dry_run.base),
        data=str(dry_run.images),
        trials=4,
        finetune_steps=8,
        bundle_dir=str(dry_run.bundle),
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every image that is decoded."""
    seen: list[bytes] = []

    def decode(data: bytes, **more: Any) -> Any:
        seen.append(data)
        return decode_image(data, **more)

    monkeypatch.setattr("nuwa_search.core.images.decode_image", decode)
    return seen


def test_it_tells_of_images_head_latency_and_time(dry_run: ToySearch, decoded: list[bytes], tmp_path: Path) -> None:
    answer, _ = dry_run.done()
    assert answer["schema"] == "nuwa.search-plan/1"
    classes = list(answer["num_images"]["train"])
    assert {split: sum(counts.values()) for split, counts in answer["num_images"].items()} == {
        "train": 72, "search": 18, "test": 30,
    }  # fmt: skip
    assert answer["num_images"]["test"] == dict.fromkeys(classes, 10)
    assert answer["head_fitted"] is False
    assert answer["base_latency"]["source"] == "latency predictor"
    assert answer["base_latency"]["budget_binds"] is False
    low, high = answer["base_latency"]["predicted_interval_ms"]
    assert low <= answer["base_latency"]["predicted_latency_ms"] <= high
    assert answer["seconds_from"] == "timed images"
    assert answer["num_images_decoded"] == len(decoded) <= 32
    assert answer["seconds"]["total"] == pytest.approx(sum(answer["seconds"][stage] for stage in STAGES), abs=0.5)
    with open_store(dry_run.db) as store:
        assert store.search(answer["study"]) is None  # nothing is begun


def test_it_names_what_is_left_out_and_what_would_be_refused(
    dry_run: ToySearch, decoded: list[bytes], tmp_path: Path, toy_images: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(toy_images, images)
    one, *others = sorted((images / "train").iterdir())
    (images / "train" / "nothing").mkdir()
    (one / "text.png").write_text("no picture")
    shutil.copy(one / "0.png", one / "again.png")
    shutil.copy(one / "1.png", images / "test" / one.name / "leaked.png")
    answer, told = dry_run.done("--data", str(images), "--classes", ",".join(p.name for p in (one, *others)))
    notes = "\n".join(answer["notes"])
    assert "nothing" in notes
    assert f"no image, at which a search would stop: 1 ({one / 'text.png'})" in notes
    assert "images of the training data that are in the test split too" in notes
    assert all(note in told for note in answer["notes"])
    assert len(decoded) <= 32


def test_earlier_searches_on_this_machine_tell_the_time_and_nothing_is_decoded(
    dry_run: ToySearch, decoded: list[bytes]
) -> None:
    spent = {"profile": 3.0, "statistics": 7.2, "cuts": 10.0, "study": 4.0, "refine": 5.0, "finetune": 16.0}
    spent |= {"export": 2.0, "verify": 6.0, "total": 60.0}
    with open_store(dry_run.db) as store:
        sources = open_sources(request_of(dry_run), store)
        record_inputs(sources, store, label_column=None, seed=0)
        for study, factor in (("cold", 1.0), ("cached", 0.9)):
            claim = store.start_search(
                study,
                SearchTerms(
                    device_id=find_device("jetson-nano", store).device_id,
                    budget_ms=50.0,
                    seed=0,
                    settings=dict_from_request(request_of(dry_run)),
                    base_id=load_base(str(dry_run.base)).base_id,
                ),
            )
            task = {"num_train": 72, "num_search": 18, "num_test": 30}
            seconds = {stage: factor * value for stage, value in spent.items()}
            store.finish_search(claim, "done", result={"task": task, "trials": {"scored": 4}, "seconds": seconds})
    answer, _ = dry_run.done("--trials", "12", "--finetune-steps", "2")
    assert answer["seconds_from"] == "earlier searches"
    assert answer["num_searches_read"] == 2
    assert answer["num_images_decoded"] == len(decoded) == 0
    # the slowest counts, scaled; the device is profiled, so that stage takes no longer than an export
    assert answer["seconds"] == {
        "profile": 2.0, "statistics": 7.2, "cuts": 10.0, "study": 12.0, "refine": 5.0, "finetune": 4.0, "export": 2.0,
        "verify": 6.0, "total": 48.2,
    }  # fmt: skip
    answer, _ = dry_run.done("--no-finetune")
    assert answer["seconds"]["finetune"] == 0.0


def test_a_device_without_a_profile_is_emulated_and_its_profile_counted(
    dry_run: ToySearch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _ = dry_run.done("--device", "jetson-tx2")
    assert answer["base_latency"]["source"] == "emulator"
    assert answer["base_latency"]["predicted_interval_ms"] is None
    assert answer["seconds"]["profile"] == time_estimate.PROFILE_S
    answer, _ = dry_run.done("--device", "host")
    assert answer["base_latency"] is None
    assert answer["seconds"]["profile"] is answer["seconds"]["total"] is None
