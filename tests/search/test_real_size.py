"""The old build's whole search from its units."""

from typing import Any

import pytest

from benchmarks.real_size.__main__ import lines_of
from benchmarks.real_size.extrapolate import old_seconds

UNITS = {
    "training images": 1200.0,
    "search images": 400.0,
    "test images": 400.0,
    "tokens per image": 257.0,
    "sensitivity per image": 0.0,
    "statistics per image": 0.0,
    "factorising": 0.0,
    "cuts in all": 10.0,
    "derive per cut": 0.0,
    "run per cut and image": 0.0,
    "derive per net": 0.0,
    "run per net and image": 0.0,
    "refine beside": 0.0,
    "refine per image": 0.0,
    "step per image": 0.0,
    "teacher per image": 0.0,
    "base in FP32 per image": 0.0,
    "net in FP32 per image": 0.0,
    "check of an export per image": 0.0,
}


@pytest.mark.parametrize(
    ("unit", "stages"),
    [
        ("sensitivity per image", {"statistics": 256}),
        ("run per cut and image", {"cuts": 1280}),
        ("refine per image", {"refine": 7 * 252}),  # never more images than 65 000 tokens hold
        ("step per image", {"finetune": 12_800}),
        ("teacher per image", {"finetune": 9600}),
        ("net in FP32 per image", {"finetune": 2800, "verify": 800}),
        ("base in FP32 per image", {"cuts": 256, "verify": 400}),
        ("check of an export per image", {"export": 64}),
    ],
)
def test_each_unit_counts_as_often_as_the_old_search_did_it(unit: str, stages: dict[str, int]) -> None:
    found = old_seconds(UNITS | {unit: 1.0})
    assert {stage: value for stage, value in found.items() if value} == stages


def test_a_second_search_is_compared_up_to_fine_tuning() -> None:
    old: dict[str, Any] = {
        "cpu_seconds": {"statistics": 400, "cuts": 300, "study": 100, "refine": 200, "finetune": 900},
        "units": {},
    }
    new: dict[str, Any] = {
        "cpu_seconds": {"statistics": 100, "finetune": 90},
        "peak_memory_mb": 5,
        "second": {"cpu_seconds": {}},
    }
    new["second"]["cpu_seconds"] = {"start": 5, "study": 15, "verify": 70}
    told = {name: (one, other) for name, one, other in lines_of(old, new)}
    wanted = {
        "statistics": (400, 100),
        "in all": (1900, 190),
        "second search before fine-tuning, of the old build's first": (1000, 20),
        "second search before fine-tuning, of the old build's second": (300, 20),
    }
    assert {name: told[name] for name in wanted} == wanted
    assert lines_of({}, {"cpu_seconds": {"start": 1}})[0] == ("start", None, 1)
