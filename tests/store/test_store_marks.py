"""Marks beside subnets: bases and small models, the newest search first."""

from pathlib import Path
from typing import Any

from nuwa_search.store.marks import find_base_marks
from nuwa_search.store.records import SearchTerms, TaskRecord
from nuwa_search.store.store import open_store
from tests.support.store_values import BASE, NANO, OTHER_TASK, TASK, record_basics

BASE_PART = {"latency_ms": 11.9, "provenance": "emulated", "top1_restricted": 0.87, "params": 5, "macs": 7}
SMALL_PART = {"subnet_id": "small", "measured_latency_ms": 5.0, "top1": 0.8, "split": "test", "params": 3, "macs": 4}


def test_newest_search_gives_the_base_and_the_newest_small_model_stays(tmp_path: Path) -> None:
    answers: list[tuple[str, TaskRecord, dict[str, Any]]] = [
        ("first", TASK, {"base": BASE_PART | {"latency_ms": 12.5}, "shipped": "small-model", "subnet": SMALL_PART}),
        ("second", TASK, {"base": BASE_PART, "shipped": "subnet", "subnet": SMALL_PART | {"subnet_id": "cut"}}),
        ("other", OTHER_TASK, {"base": BASE_PART, "shipped": "subnet", "subnet": SMALL_PART}),
        ("nothing fits", TASK, {"fastest": {}}),
    ]
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        record_basics(store)
        for study, task, result in answers:
            claim = store.start_search(
                study,
                SearchTerms(
                    device_id=NANO.device_id,
                    budget_ms=5.0,
                    seed=0,
                    settings={},
                    base_id=BASE.base_id,
                    task_id=task.task_id,
                ),
            )
            store.finish_search(claim, "done", result=result)
        base, small = sorted(find_base_marks(store, task_id=TASK.task_id), key=lambda mark: mark["kind"])
        assert len(find_base_marks(store, device="jetson-nano")) == 3
        assert find_base_marks(store, device="lab-nano") == []
    assert (base["kind"], base["study"], base["latency_ms"], base["top1_restricted"]) == ("base", "second", 11.9, 0.87)
    assert (small["kind"], small["study"], small["subnet_id"]) == ("small_model", "first", "small")
    assert (small["latency_ms"], small["top1"], small["split"]) == (5.0, 0.8, "test")
