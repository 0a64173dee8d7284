"""Cells that ran, kept so that none is run again, and the two tables that are written from them."""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.deploy_tables import machine, machines_of, origin
from benchmarks.equal_seconds.methods import METHODS, OURS
from benchmarks.equal_seconds.setting import TASKS
from benchmarks.old_tree import ROOT

SURROGATE = "surrogate"
PROTOCOL = (
    "one thread; every method has the CPU seconds that ours took from the first single cut to its choice; "
    "winners refined once more, not fine-tuned; KL to the base and top1 on the test split"
)
HIDDEN = ("archs", "rows", "machine")
"""What a cell holds beside its row of the table."""
Cell = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """Cells of this benchmark in a folder, beside their tables."""

    folder: Path

    @property
    def path(self) -> Path:
        """One cell a line, as JSON."""
        return self.folder / "equal_seconds_cells.jsonl"

    def read(self) -> list[Cell]:
        """Return every cell, oldest first."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def find(self, task: str, seed: int, method: str) -> Cell | None:
        """Return one cell; None where it was not run."""
        wanted = (task, seed, method)
        return next((cell for cell in self.read() if (cell["task"], cell["seed"], cell["method"]) == wanted), None)

    def add(self, task: str, seed: int, method: str, told: Cell) -> None:
        """Keep a cell, and write the tables anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            cell = {"task": task, "seed": seed, "method": method, **told, "machine": machine()}
            file.write(json.dumps(cell) + "\n")
        self.write_tables()

    def write_tables(self) -> None:
        """Write searches and cards."""
        cells = self.read()
        told = origin(runtime="torch", precision="fp32, bf16 scores", seed=0, protocol=PROTOCOL)
        told.pop("seed")
        told["threads"] = 1
        searches = [cell for cell in cells if cell["method"] in METHODS]
        runs = [
            {k: _short(v) for k, v in cell.items() if k not in HIDDEN} | told | machines_of([cell]) for cell in searches
        ]
        _write(self.folder / "equal_seconds.csv", runs)
        cards = [cell for cell in cells if cell["method"] == SURROGATE]
        rows = [
            {"task": c["task"], "seed": c["seed"], **row, **told, **machines_of([c])}
            for c in cards
            for row in c["rows"]
        ]
        _write(self.folder / "surrogate.csv", rows)


def cell_arguments(doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of what is run and where it is kept."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/nuwa-search/bench")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the tables")
    return parser


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _write(path: Path, rows: Sequence[Cell]) -> None:
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def ranks(cells: Sequence[Cell]) -> list[str]:
    """Say the mean rank by KL on the test images over all whole groups; the first is 1."""
    groups: dict[tuple[str, int], dict[str, float]] = {}
    for cell in cells:
        if cell["method"] in METHODS:
            groups.setdefault((cell["task"], cell["seed"]), {})[cell["method"]] = cell.get("kl_test", float("inf"))
    whole = [group for group in groups.values() if len(group) == len(METHODS)]
    if not whole:
        return []
    lines = [f"{len(whole)} groups of task and seed, mean rank by KL on test images:"]
    for method in METHODS:
        rank = sum(1 + sum(group[other] < group[method] for other in METHODS) for group in whole) / len(whole)
        lines.append(f"  {method:8s} {rank:.2f}")
    own = [cell for cell in cells if cell["method"] == OURS and cell["best_own_kl"] and cell["best_handed_kl"]]
    better = sum(cell["best_own_kl"] < cell["best_handed_kl"] for cell in own)
    lines.append(f"the study's own proposals beat the best it was handed in {better} of {len(own)} searches")
    return lines
