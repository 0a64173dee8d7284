"""The answer of a search as its JSON document: every field of the contract, in its order."""

import json
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.budget import Budget
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.search.lost_images import LostImage, LostImages
from nuwa_search.search.result import (
    Artifacts,
    BaseAccuracies,
    BasePart,
    Delivered,
    Fastest,
    FrontPoint,
    Missed,
    SearchResult,
    SubnetPart,
    TaskPart,
    TrialCounts,
)
from nuwa_search.search.trials import TrialReport

ARCH = Arch(blocks=(BlockSpec(2, 16, 16, 64),) * 2, embed_dim=64, num_classes=5, img_size=16, patch_size=8)
SPEC = DeviceSpec("jetson-nano", "emulated", "tensorrt", "8.2.1", "fp16", power_mode="MAXN", opset=13)
STATS = LatencyStats(median=5.0, mean=5.1, p50=5.0, p90=5.2, p95=5.3, p99=5.4, min=4.9, max=6.0, cv=0.01)
MEASURED = Measurement(
    SPEC, MeasureProtocol(), "emulated", STATS, 100, board_interval_ms=(4.0, 7.0), peak_memory_mb=3.0
)
COUNTS = TrialCounts(total=9, feasible=7, scored=6, duplicates=1, failed=0)
SECONDS = {"profile": 1.0, "total": 2.0}
TRIAL = TrialReport(1, ARCH, "seed", "scored", 4.9, (4.8, 5.0), kl=0.1, top1_search=0.8, num_images=50)

HEAD = [
    *("schema", "study", "feasible", "budget_ms", "budget_binds", "budget_statistic", "seed", "predictor_id", "device"),
    *("task", "base", "metric", "kept", "budgets"),
]
SUBNET = [
    *("arch_id", "subnet_id", "img_size", "arch", "params", "macs", "predicted_latency_ms", "predicted_interval_ms"),
    *("board_interval_ms", "measured_latency_ms", "measured_p95_ms", "measured_p99_ms", "measured_peak_memory_mb"),
    *("provenance", "top1_derived", "top1", "split", "top1_derived_interval", "top1_interval", "num_images"),
    *("balanced_accuracy", "balanced_accuracy_interval", "recall", "recall_interval"),
    *("num_images_by_class", "confusion"),
]
RIGHT = ClassScores(((4, 1), (1, 4)), (True,) * 4 + (False,) + (True,) * 4 + (False,))


def result(ending: Fastest | Missed | Delivered, *, accuracies: BaseAccuracies | None = None) -> SearchResult:
    return SearchResult(
        study="mine",
        budget=Budget(5.0, "median", relative_sd=0.01),
        budget_binds=True,
        seed=3,
        predictor_id="p",
        device=SPEC,
        task=TaskPart("images", ("bus", "van"), 10, 5, 6, None, True),
        base=BasePart("default", ARCH, MEASURED, accuracies),
        ending=ending,
        seconds=SECONDS,
    )


def delivered(*, budget: Budget, front: Path | None = None, has_front: bool = False) -> Delivered:
    here = Path("b")
    return Delivered(
        lost=LostImages(3, 1, (LostImage("test/bus/1.png", "0f", "bus", "bus", "van", 0.75),)),
        kind="subnet",
        verdict=budget.check(MEASURED),
        subnet=SubnetPart(ARCH, "s", 4.9, (4.8, 5.0), MEASURED, RIGHT, RIGHT),
        artifacts=Artifacts(here, here / "w", here / "o", None, here / "build.sh", here / "c", front),
        trials=COUNTS,
        repairs=1,
        front=(FrontPoint(TRIAL, "s", "nuwa derive --subnet s"),) if has_front else None,
    )


def document(value: SearchResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(value.to_json(), allow_nan=False))
    return found


def test_a_delivered_subnet_is_the_document_of_the_contract() -> None:
    answer = document(result(delivered(budget=Budget(5.0)), accuracies=BaseAccuracies(None, RIGHT)))
    assert list(answer) == [
        *HEAD, "shipped", "verdict", "verdict_reason", "subnet", "artifacts", "trials", "repairs", "lost_images",
        "seconds",
    ]  # fmt: skip
    assert answer["lost_images"]["num_lost"] == 3
    assert answer["lost_images"]["images"][0] == {
        **{"file": "test/bus/1.png", "hash": "0f", "label": "bus", "base": "bus", "winner": "van", "confidence": 0.75},
    }
    assert list(answer["subnet"]) == SUBNET
    assert list(answer["artifacts"]) == ["dir", "weights", "onnx", "engine", "build", "certificate"]
    assert list(answer["base"]) == [
        *("name", "arch_id", "params", "macs", "latency_ms", "provenance", "board_interval_ms"),
        *("img_size", "at_sizes", "top1_all_classes"),
        *("top1_restricted", "top1_all_classes_interval", "top1_restricted_interval", "num_images"),
        *("balanced_accuracy", "balanced_accuracy_interval", "recall", "recall_interval"),
        *("num_images_by_class", "confusion"),
    ]
    assert answer["subnet"]["top1"] == 0.8
    assert answer["subnet"]["top1_interval"] == pytest.approx([0.490, 0.943], abs=1e-3)  # Wilson, 8 of 10
    assert answer["subnet"]["recall"] == {"bus": 0.8, "van": 0.8}
    assert answer["subnet"]["num_images_by_class"] == {"bus": 5, "van": 5}
    assert answer["subnet"]["recall_interval"]["bus"] == pytest.approx([0.376, 0.964], abs=1e-3)  # Wilson, 4 of 5
    assert answer["metric"] == "top1"
    assert list(answer["task"]) == [
        *("data", "classes", "num_train", "num_search", "num_test", "search_split_seen_by_base", "head_fitted"),
        "notes",
    ]
    assert (answer["schema"], answer["feasible"], answer["verdict"]) == ("nuwa.search/1", True, "met (emulated)")
    assert (answer["budget_ms"], answer["budget_statistic"], answer["seed"]) == (5.0, "median", 3)
    assert (answer["subnet"]["measured_latency_ms"], answer["subnet"]["measured_p99_ms"]) == (5.0, 5.4)
    assert answer["subnet"]["board_interval_ms"] == answer["base"]["board_interval_ms"] == [4.0, 7.0]
    assert answer["base"]["top1_all_classes"] is None
    assert answer["task"]["classes"] == ["bus", "van"]
    assert answer["artifacts"]["engine"] is None
    assert answer["trials"] == {"total": 9, "feasible": 7, "scored": 6, "duplicates": 1, "failed": 0}


def test_fronts_are_there_where_they_were_asked_for() -> None:
    answer = document(result(delivered(budget=Budget(5.0), front=Path("b/front.png"), has_front=True)))
    assert answer["artifacts"]["front"] == "b/front.png"
    assert answer["front"] == [
        {
            "arch_id": ARCH.arch_id,
            "img_size": 16,
            "predicted_latency_ms": 4.9,
            "predicted_interval_ms": [4.8, 5.0],
            "kl_to_teacher": 0.1,
            "top1_search": 0.8,
            "top1_search_interval": list(wilson_interval(40, 50)),
            "num_images": 50,
            "subnet_id": "s",
            "derive_command": "nuwa derive --subnet s",
        }
    ]
    assert list(answer)[-2:] == ["front", "seconds"]


def test_a_delivered_subnet_that_missed_says_which_limit() -> None:
    answer = document(result(delivered(budget=Budget(4.5, max_memory_mb=2.0))))
    assert (answer["feasible"], answer["verdict"]) == (False, "missed (emulated)")
    assert answer["verdict_reason"] == (
        "latency (median) 5.00 ms, 0.50 over the budget of 4.5 ms; peak memory 3.0 MB, 1.00 over the limit of 2 MB"
    )


def test_where_nothing_fits_the_fastest_is_named() -> None:
    answer = document(result(Fastest(ARCH, 6.0)))
    assert list(answer) == [*HEAD, "fastest", "seconds"]
    assert answer["feasible"] is False
    assert answer["fastest"] == {"arch_id": ARCH.arch_id, "predicted_latency_ms": 6.0}
    assert "top1_restricted" not in answer["base"]  # the test split was not opened


def test_where_every_winner_missed_the_limit_is_named_and_nothing_is_shipped() -> None:
    answer = document(result(Missed(Budget(4.5).check(MEASURED), COUNTS, 2)))
    assert list(answer) == [*HEAD, "verdict", "verdict_reason", "trials", "repairs", "seconds"]
    assert answer["feasible"] is False
    assert answer["verdict"] == "missed (emulated)"
    assert "over the budget of 4.5 ms" in answer["verdict_reason"]
    ended = document(result(Missed(Budget(4.5).check(MEASURED), COUNTS, 2, Fastest(ARCH, 6.0))))
    assert ended["fastest"]["predicted_latency_ms"] == 6.0
