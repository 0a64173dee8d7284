"""The old build's whole search from its units, and the tables of what searches took and ended with."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.deploy_tables import machines_of
from benchmarks.real_size.cells import cells_of
from benchmarks.real_size.compare import winner_rows
from benchmarks.real_size.extrapolate import old_seconds
from benchmarks.real_size.proposals import proposal_rows
from benchmarks.real_size.times import lines_of, time_rows
from benchmarks.real_size.winner import bits_of, mean_kl, text_of

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


def test_an_old_build_run_whole_takes_the_place_of_its_units() -> None:
    here = {"machine": {"device": "EPYC", "versions": "torch 2"}}
    cells: list[dict[str, Any]] = [
        {"build": "new", "job": "small", "seed": 0, "cpu_seconds": {"study": 10}, "peak_memory_mb": 70} | here,
        {"build": "old", "job": "small", "seed": 0, "cpu_seconds": {"study": 90}, "units": {"peak memory": 80}} | here,
        {"build": "old whole", "job": "small", "seed": 0, "cpu_seconds": {"study": 200}, "peak_memory_mb": 100} | here,
    ]
    rows = {str(row["stage"]): row for row in time_rows(cells)}
    assert (rows["study"]["494cfc3"], rows["study"]["ratio"]) == (200, 20)
    assert (rows["peak memory in MB"]["494cfc3"], rows["peak memory in MB"]["now"]) == (100, 70)
    assert "494cfc3 run whole" in str(rows["study"]["protocol"])
    extrapolated = {str(row["stage"]): row for row in time_rows(cells[:2])}
    assert extrapolated["study"]["494cfc3"] == 90
    assert "extrapolated" in str(extrapolated["study"]["protocol"])


def test_seconds_of_two_machines_make_no_ratio() -> None:
    cells: list[dict[str, Any]] = [
        {"build": build, "job": "small", "seed": 0, "cpu_seconds": {"study": 10}, "peak_memory_mb": 70}
        | {"machine": {"device": device, "versions": "torch 2"}}
        for build, device in (("new", "EPYC"), ("old whole", "Xeon"))
    ]
    study = next(row for row in time_rows(cells) if row["stage"] == "study")
    assert (study["494cfc3"], study["now"], study["ratio"]) == ("", 10, "")
    assert machines_of(cells_of(cells, {"job": "all", "seed": ""}))["device"] == "EPYC and Xeon"


def _winner(build: str, job: str, seed: int, *, right: int, base: int, latency_ms: float = 29.0) -> dict[str, Any]:
    """Make a cell with ``right`` and ``base`` of ten test images right: the first ones."""
    bits = {name: text_of(np.arange(10) < count) for name, count in {"base": base, "shipped": right}.items()}
    told = {
        "splits": {"train": "a", "search": "b", "test": "c"},
        "images": 10,
        "right": bits | {"derived": bits["shipped"]},
        "kl": {"derived": 0.5 + seed, "shipped": 0.25},
        "head reads": "token",
        "latency_ms": latency_ms,
        "budget_ms": 30.0,
    }
    return {"build": build, "job": job, "seed": seed, "winner": told}


def test_winners_of_both_builds_are_paired_image_by_image() -> None:
    cells = [
        _winner("new", "textiles", 0, right=9, base=8),
        _winner("old whole", "textiles", 0, right=7, base=8, latency_ms=30.5),
        _winner("new", "textiles", 1, right=7, base=8),
        _winner("old whole", "textiles", 1, right=7, base=8),
        _winner("new", "small", 0, right=10, base=10),
        {"build": "new", "job": "tiles", "seed": 0},  # of a version that did not judge it
    ]
    rows = {(row["job"], row["seed"]): row for row in winner_rows(cells)}
    first = rows["textiles", "0"]
    assert (first["top1 now"], first["top1 494cfc3"], first["top1 base now"]) == (90, 70, 80)
    assert (first["now - 494cfc3"], first["now - base"]) == (20, 10)
    assert float(str(first["now - 494cfc3 low"])) <= 20 <= float(str(first["now - 494cfc3 high"]))
    assert (first["within the budget now"], first["within the budget 494cfc3"]) == ("1 of 1", "0 of 1")
    assert rows["small", "0"]["now - 494cfc3"] == ""
    real = rows["pooled, real base", ""]
    assert (real["searches"], real["images"]) == (2, 10)  # the same ten images, so no narrower an interval
    assert (real["now - 494cfc3"], real["now - base"]) == (10, 0)
    assert real["KL before fine-tuning now"] == 1.0
    assert rows["pooled", ""]["images"] == 20
    assert rows["pooled, searches of both builds", ""]["now - 494cfc3"] == 10


def test_builds_that_saw_other_images_are_not_compared() -> None:
    cells = [_winner(build, "small", 0, right=9, base=8) for build in ("new", "old whole")]
    cells[1]["winner"]["splits"] = {"train": "a", "search": "b", "test": "other"}
    with pytest.raises(ValueError, match="other images"):
        winner_rows(cells)


def test_bits_of_images_are_read_back_and_the_kl_is_the_mean_over_images() -> None:
    right = np.random.default_rng(0).random(13) < 0.5
    assert bits_of(text_of(right), 13).astype(bool).tolist() == right.tolist()
    even, odd = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    found = mean_kl(torch.cat([even, even]), torch.cat([odd, even]))
    assert found == pytest.approx(0.5 * np.log(4 / 3) / 2)


def test_proposals_are_summed_over_searches() -> None:
    told = [(0.3, 0.2, 2), (0.3, 0.4, 0), (0.3, None, 0)]
    cells = [
        {"build": "new", "job": "small", "seed": seed}
        | {"proposals": {"handed": 8, "own": 5, "own_better": n, "best_handed_kl": best, "best_own_kl": own}}
        for seed, (best, own, n) in enumerate(told)
    ]
    *_, pooled = proposal_rows(cells)
    assert (pooled["handed"], pooled["own"], pooled["own that beat the best handed"]) == (24, 15, 2)
    assert (pooled["searches won by an own one"], pooled["of searches"]) == (1, 3)
