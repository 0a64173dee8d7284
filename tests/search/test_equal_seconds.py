"""What the benchmark of equal seconds makes of its cells."""

import csv
from pathlib import Path

from benchmarks.equal_seconds.card import LARGE, SMALL, card_size, drawn_nets
from benchmarks.equal_seconds.cells import SURROGATE, Cells, ranks
from benchmarks.equal_seconds.methods import METHODS
from benchmarks.equal_seconds.setting import TASKS
from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE

NETS = [Arch((BlockSpec(1, 8, 8, 8 * width),), 16, num_classes=2, img_size=16, patch_size=4) for width in range(1, 71)]


def test_a_card_of_large_images_is_of_fewer_nets() -> None:
    few, many = (Arch((BlockSpec(1, 8, 8, 8),), 16, num_classes=2, img_size=size, patch_size=14) for size in (112, 224))
    assert (card_size(few), card_size(many)) == (SMALL, LARGE)
    assert (SMALL.total, LARGE.total) == (60, 32)


def test_nets_of_a_card_are_drawn_without_one_twice() -> None:
    drawn = drawn_nets(NETS, seed=0, size=LARGE)
    assert len(drawn) == len(set(drawn)) == LARGE.total
    assert drawn == drawn_nets(NETS, seed=0, size=LARGE)
    assert set(drawn_nets(NETS[:5], seed=0, size=LARGE)) == set(NETS[:5])


def test_there_are_three_tasks_on_each_base() -> None:
    assert [job.base for job in TASKS.values()] == [DEMO_BASE] * 3 + [PACKAGED_BASE] * 3


def test_cells_become_tables_and_ranks(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    for task in ("one", "two"):
        for place, method in enumerate(METHODS):
            kl = 0.1 if task == "one" else place / 8  # a tie is no better rank for either
            told = {"kl_test": kl, "best_own_kl": 0.3, "best_handed_kl": 0.2, "archs": [1]}
            cells.add(task, 0, method, told)
    cells.add("three", 0, "ours", {"kl_test": 0.5, "best_own_kl": None, "best_handed_kl": 0.2, "archs": []})
    cells.add("one", 0, SURROGATE, {"rows": [{"nets_seen": 0}, {"nets_seen": 5}]})
    assert cells.find("two", 0, "tpe") is not None
    assert cells.find("two", 1, "tpe") is None
    with (tmp_path / "equal_seconds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [*METHODS, *METHODS, "ours"]
    assert "archs" not in rows[0]
    with (tmp_path / "surrogate.csv").open() as file:
        assert [row["nets_seen"] for row in csv.DictReader(file)] == ["0", "5"]
    assert ranks(cells.read()) == [
        "2 groups of task and seed, mean rank by KL on test images:",
        "  ours     1.00",
        "  random   1.50",
        "  tpe      2.00",
        "  nsga2    2.50",
        "the study's own proposals beat the best it was handed in 0 of 2 searches",
    ]
