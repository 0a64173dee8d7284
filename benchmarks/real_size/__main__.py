"""Cell by cell: this build searches whole, the old one is extrapolated from its units.

    python -m benchmarks.real_size                          all jobs, seed 0
    python -m benchmarks.real_size --jobs textiles --seeds 0 1 2

A cell that is in ``benchmarks/results/real_size_cells.jsonl`` is not run again, so a broken-off run goes on; the table
``real_size.csv`` is written anew after each. Every build runs on one thread and what counts is its CPU seconds: they
can be compared on a machine that does something else too.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.deploy_tables import origin
from benchmarks.old_tree import COMMIT, ROOT, old_tree
from benchmarks.real_size.extrapolate import old_seconds
from benchmarks.real_size.jobs import JOBS

RESULTS = ROOT / "benchmarks" / "results"
CELLS, TABLE = RESULTS / "real_size_cells.jsonl", RESULTS / "real_size.csv"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PROTOCOL = (
    f"CPU seconds, one thread, cold caches; {COMMIT} extrapolated from ten and more of each unit, with the base, head "
    "and images of now"
)
OLD, NEW = "old", "new"
AFTER = ("finetune", "export", "verify")
"""Stages that a second search is timed without."""


def main() -> None:
    """Run what is missing and write the table."""
    args = _arguments()
    for job in args.jobs:
        for seed in args.seeds:
            for build in (NEW, OLD):
                if not any(_is(cell, build, job, seed) for cell in _read()):
                    print(f"{job}, seed {seed}: {build} build", file=sys.stderr, flush=True)
                    told = (_run_new if build == NEW else _run_old)(job, args.shared, seed)
                    with CELLS.open("a") as file:
                        file.write(json.dumps({"build": build, "job": job, "seed": seed, **told}) + "\n")
            _write_table(_read())
    print(TABLE.read_text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    return parser.parse_args()


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def _is(cell: dict[str, Any], build: str, job: str, seed: int) -> bool:
    return (cell["build"], cell["job"], cell["seed"]) == (build, job, seed)


def _run_new(job: str, shared: Path, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        line = ["-m", "benchmarks.real_size.new_build", job, str(shared), str(seed), folder]
        told, again = _output(line, {}), _output([*line, "second"], {})
    cell: dict[str, Any] = told | {
        "second": {name: again[name] for name in ("cpu_seconds", "wall_seconds", "peak_memory_mb")}
    }
    return cell


def _run_old(job: str, shared: Path, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, old_tree() as tree:
        prepare = ["-m", "benchmarks.real_size.prepare", job, str(shared), str(seed), folder]
        subprocess.run([sys.executable, *prepare], check=True, env=os.environ | ONE_THREAD)
        script = str(Path(__file__).parent / "old_units.py")
        units = _output([script, folder], {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"})
    return {"units": units, "cpu_seconds": old_seconds(units)}


def _output(line: list[str], env: dict[str, str]) -> Any:
    whole = os.environ | ONE_THREAD | env
    return json.loads(subprocess.run([sys.executable, *line], stdout=subprocess.PIPE, check=True, env=whole).stdout)


def _write_table(cells: list[dict[str, Any]]) -> None:
    rows = []
    told = origin(runtime="torch", precision="fp32, bf16 scores", seed=0, protocol=PROTOCOL)
    told.pop("seed")
    told["threads"] = 1  # of each build; this process computes nothing
    for cell in cells:
        if cell["build"] != NEW:
            continue
        job, seed = cell["job"], cell["seed"]
        before = next((c for c in cells if _is(c, OLD, job, seed)), {})
        for stage, old, new in lines_of(before, cell):
            ratio = round(old / new, 1) if old and new else ""
            row = {"job": job, "seed": seed, "stage": stage, COMMIT: _said(old), "now": _said(new), "ratio": ratio}
            rows.append(row | told)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def lines_of(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """List what is compared, the old build's figure first; None where there is none.

    Args:
        old: Its cell; empty where it was not run.
        new: This build's.
    """
    before, now = old.get("cpu_seconds", {}), new["cpu_seconds"]
    stages = [*now, *(stage for stage in before if stage not in now)]
    lines = [(stage, before.get(stage), now.get(stage)) for stage in stages]
    lines.append(("in all", sum(before.values()) or None, sum(now.values())))
    if "second" in new:  # the old build kept statistics and library too, but no head
        again = {stage: value for stage, value in new["second"]["cpu_seconds"].items() if stage not in AFTER}
        kept = sum(value for stage, value in before.items() if stage in ("study", "refine"))
        whole = sum(value for stage, value in before.items() if stage not in AFTER)
        lines.append(("second search before fine-tuning, of the old build's first", whole or None, sum(again.values())))
        lines.append(("second search before fine-tuning, of the old build's second", kept or None, sum(again.values())))
    lines.append(
        (
            "peak memory in MB, of the old build's units",
            old.get("units", {}).get("peak memory"),
            new.get("peak_memory_mb"),
        )
    )
    return lines


def _said(seconds: float | None) -> float | str:
    return "" if seconds is None else round(seconds, 1)


if __name__ == "__main__":
    main()
