"""The arithmetic behind the deployment tables, by closed form."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import deploy_distil, deploy_export
from benchmarks.deploy_tables import append_row, has_row, origin, read_rows


def test_a_table_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "results" / "t.csv"
    assert not has_row(path, {"a": 1})
    told = origin(runtime="torch", precision="fp32", seed=3, protocol="none")
    append_row(path, {"a": 1, "b": "x, y"} | told)
    append_row(path, {"a": 2, "b": "z"} | told)
    assert has_row(path, {"a": 1, "b": "x, y"})
    assert not has_row(path, {"a": 1, "b": "z"})
    assert [row["a"] for row in read_rows(path)] == ["1", "2"]
    assert {"device", "runtime", "versions", "precision", "seed", "protocol"} <= read_rows(path)[0].keys()


def test_gains_are_paired(tmp_path: Path) -> None:
    rows = [
        {"task": task, "seed": seed, "steps": "9", "recipe": recipe, "search_top1": str(value), "test_top1": "0.5"}
        for (task, seed), base in zip(itertools.product("ab", "01"), (0.1, 0.5, 0.2, 0.8), strict=True)
        for recipe, value in (("labels", base), ("distilled", base + (0.02 if seed == "0" else 0.04)))
    ]
    deploy_distil._summarise(rows, tmp_path / "gain.csv")
    whole = next(row for row in read_rows(tmp_path / "gain.csv") if row["task"] == "all")
    assert (whole["recipe"], whole["split"], whole["pairs"]) == ("distilled", "search_top1", "4")
    assert float(whole["mean_gain_points"]) == pytest.approx(3.0)
    assert float(whole["sd_points"]) == pytest.approx(np.std([2, 4, 2, 4], ddof=1), abs=0.01)


def test_the_interval_of_a_median() -> None:
    assert deploy_export.bootstrap_interval(np.full(21, 1.5)) == (1.5, 1.5)
    values = np.random.default_rng(1).normal(2.0, 0.1, 201)
    low, high = deploy_export.bootstrap_interval(values)
    assert low < np.median(values) < high
    # the median of n normal values has standard error 1.2533 sd / sqrt(n)
    assert high - low == pytest.approx(2 * 1.96 * 1.2533 * 0.1 / np.sqrt(201), rel=0.35)


def test_pairs_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    calls: list[str] = []

    def run(name: str, ms: float) -> None:
        calls.append(name)
        now[0] += ms / 1e3

    monkeypatch.setattr(time, "thread_time", lambda: now[0])
    pairs = deploy_export.time_pairs(lambda: run("ours", 30.0), lambda: run("theirs", 60.0))
    assert pairs.shape == (deploy_export.PAIRS, 2)
    np.testing.assert_allclose(pairs[:, 1] / pairs[:, 0], 2.0)
    first = [calls[16 + 3 * k] for k in range(4)]  # after 5 + 5 warm-up and 3 + 3 counting calls; 2 + 1 a pair
    assert first == ["ours", "theirs", "ours", "theirs"]
