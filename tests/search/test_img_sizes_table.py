"""The table of image sizes, by hand."""

from typing import Any

import numpy as np
import pytest

from benchmarks.img_sizes import TASKS, rows_of
from benchmarks.img_sizes_table import DIFFERENCE, FREE, PINNED, POOLED, UNCUT, PerImage, per_image, table_rows


def _cell(task: str, row: str, *, kl: list[float], right: str) -> dict[str, Any]:
    told = {"kl": kl, "right": right}
    return {
        "task": task,
        "seed": 0,
        "row": row,
        "img_size": "168",
        "budget_ms": 30.0,
        "measured_ms": 29.12345,
        "search": told,
        "test": told,
    }


def test_what_is_kept_per_image_comes_back() -> None:
    found = PerImage(np.array([0.5, 0.25]), np.array([True, False]))
    again = per_image(found.to_json())
    assert again.kl.tolist() == [0.5, 0.25]
    assert again.is_right.tolist() == [True, False]


def test_differences_are_paired_image_by_image_and_pooled_over_tasks() -> None:
    nothing = _cell("three", PINNED, kl=[], right="") | {"img_size": None, "measured_ms": None, "test": None}
    cells = [
        _cell("one", PINNED, kl=[0.3, 0.9], right="01"),
        _cell("one", FREE, kl=[0.2, 0.8], right="11"),
        _cell("one", UNCUT, kl=[0.0, 0.0], right="11"),
        _cell("two", PINNED, kl=[0.4, 0.6, 0.5, 0.5], right="1111"),
        _cell("two", FREE, kl=[0.3, 0.5, 0.4, 0.4], right="1111"),
        nothing,
        _cell("three", FREE, kl=[0.1], right="1"),
    ]
    rows = table_rows(cells)
    assert [(row["task"], row["row"]) for row in rows] == [
        ("one", PINNED),
        ("one", FREE),
        ("one", UNCUT),
        ("one", DIFFERENCE),
        ("two", PINNED),
        ("two", FREE),
        ("two", DIFFERENCE),
        ("three", PINNED),
        ("three", FREE),
        (POOLED, DIFFERENCE),
    ]
    assert rows[0]["measured_ms"] == 29.123
    assert (rows[0]["kl_test"], rows[0]["top1_test"], rows[0]["num_test"]) == (0.6, 0.5, 2)
    assert 0 < rows[0]["top1_test_low"] < 0.5 < rows[0]["top1_test_high"] < 1
    two = rows[6]  # every image moved alike: no resample differs
    assert (two["kl_test_low"], two["kl_test"], two["kl_test_high"]) == (-0.1, -0.1, -0.1)
    assert (two["top1_test_low"], two["top1_test"], two["top1_test_high"]) == (0, 0, 0)
    assert "top1_test" not in rows[7]
    assert rows[7]["img_size"] is None
    assert rows[-1]["num_test"] == 6
    assert rows[-1]["kl_test"] == pytest.approx(-0.1)
    assert rows[-1]["top1_test"] == pytest.approx(1 / 6, abs=1e-4)


def test_the_uncut_base_is_a_row_at_every_size() -> None:
    assert list(rows_of(TASKS["textiles"])) == [PINNED, FREE, UNCUT, f"{UNCUT} at 112", f"{UNCUT} at 168"]
