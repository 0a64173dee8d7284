"""Cells of the benchmark: what a build was found to do on a job with a seed, one JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.deploy_tables import machine
from benchmarks.old_tree import COMMIT, ROOT

RESULTS = ROOT / "benchmarks" / "results"
CELLS = RESULTS / "real_size_cells.jsonl"
NEW, NEW_SAME_HEAD, OLD, OLD_WHOLE = "new", "new, same head", "old", "old whole"
"""Builds: this one with default options; with a fitted head that both builds know; the old one from its units; and run
whole."""
OF_NOW, OF_OLD = (NEW, NEW_SAME_HEAD), (OLD_WHOLE, OLD)
"""What stands in a table of times, first choice first."""
OF_WINNERS = (NEW_SAME_HEAD, NEW)
"""What stands in the table of winners."""
Cell = dict[str, Any]


def read_cells() -> list[Cell]:
    """Read what was run."""
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def add_cell(cell: Cell) -> None:
    """Keep one more, with the machine that ran it."""
    with CELLS.open("a") as file:
        file.write(json.dumps({**cell, "machine": machine()}) + "\n")


def find_cell(cells: Sequence[Cell], builds: Sequence[str], job: str, seed: int, *, holding: str = "build") -> Cell:
    """Return the first of ``builds`` that was run and holds what is asked for; empty where none was and does."""
    for build in builds:
        for cell in cells:
            if (cell["build"], cell["job"], cell["seed"]) == (build, job, seed) and holding in cell:
                return cell
    return {}


def cells_of(cells: Sequence[Cell], row: Mapping[str, object]) -> list[Cell]:
    """Return the cells that a row of a table speaks of; all where it is of no single search."""
    mine = [cell for cell in cells if (cell["job"], str(cell["seed"])) == (row["job"], str(row["seed"]))]
    return mine or list(cells)


def runs_of(cells: Sequence[Cell], builds: Sequence[str]) -> list[tuple[str, int]]:
    """List every job and seed that one of ``builds`` was run for."""
    return list(dict.fromkeys((cell["job"], cell["seed"]) for cell in cells if cell["build"] in builds))


def said_build(cell: Cell) -> str:
    """Say how the old build's seconds came about."""
    if not cell:
        return f"{COMMIT} not run"
    if cell["build"] == OLD_WHOLE:
        return f"{COMMIT} run whole"
    if "said" in cell:  # one that was broken off
        return str(cell["said"])
    return f"{COMMIT} extrapolated from ten and more of each unit"
