"""Cell by cell: this build searches whole, the old one is extrapolated from its units or run whole.

    python -m benchmarks.real_size                          all jobs, seed 0
    python -m benchmarks.real_size --jobs textiles --seeds 0 1 2
    python -m benchmarks.real_size --jobs tiles --old-whole --same-head

A cell that is in ``benchmarks/results/real_size_cells.jsonl`` is not run again, so a broken-off run goes on; three
tables are written anew after each: ``real_size.csv`` of times, ``real_size_winners.csv`` of what the searches ended
with, and ``real_size_proposals.csv`` of the studies' own proposals. Every build runs on one thread and what counts is
its CPU seconds: they can be compared on a machine that does something else too.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.deploy_tables import machines_of, origin
from benchmarks.old_tree import ROOT, old_tree
from benchmarks.real_size.cells import (
    NEW,
    NEW_SAME_HEAD,
    OLD,
    OLD_WHOLE,
    RESULTS,
    Cell,
    add_cell,
    cells_of,
    find_cell,
    read_cells,
)
from benchmarks.real_size.compare import winner_rows
from benchmarks.real_size.extrapolate import old_seconds
from benchmarks.real_size.jobs import CLASS_TOKEN, JOBS
from benchmarks.real_size.proposals import proposal_rows
from benchmarks.real_size.times import time_rows
from nuwa_search.core.source_name import DEMO_BASE

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TABLES = {"real_size": time_rows, "real_size_winners": winner_rows, "real_size_proposals": proposal_rows}


def main() -> None:
    """Run what is missing and write the tables."""
    args = _arguments()
    for job in args.jobs:
        has_own_head = JOBS[job].base != DEMO_BASE  # that of the small base serves both builds as it is
        builds = (NEW_SAME_HEAD if args.same_head and not has_own_head else NEW, OLD_WHOLE if args.old_whole else OLD)
        for seed in args.seeds:
            for build in () if args.tables else builds:
                if not find_cell(read_cells(), (build,), job, seed):
                    print(f"{job}, seed {seed}: {build}", file=sys.stderr, flush=True)
                    told = _run(build, job, args.shared, seed)
                    add_cell({"build": build, "job": job, "seed": seed, **told})
                    _write_tables(read_cells())
    _write_tables(read_cells())
    tables = [RESULTS / f"{name}.csv" for name in TABLES]
    print("\n".join(table.read_text() for table in tables if table.exists()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--old-whole", action="store_true", help="run the old build whole, instead of its units")
    parser.add_argument("--same-head", action="store_true", help="let a fitted head read the class token alone")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    return parser.parse_args()


def _run(build: str, job: str, shared: Path, seed: int) -> Cell:
    with tempfile.TemporaryDirectory() as folder:
        if build in (NEW, NEW_SAME_HEAD):
            return _run_new(job, shared, seed, folder, pool=CLASS_TOKEN if build == NEW_SAME_HEAD else None)
        prepare = ["-m", "benchmarks.real_size.prepare", job, str(shared), str(seed), folder]
        subprocess.run([sys.executable, *prepare], check=True, env=os.environ | ONE_THREAD)
        budget_ms = str(JOBS[job].budget_ms)
        if build == OLD:
            units = _old_output(["old_units.py", folder])
            return {"units": units, "cpu_seconds": old_seconds(units)}
        cell: Cell = _old_output(["old_whole.py", folder, "--budget-ms", budget_ms, "--seed", str(seed)])
        return cell | {"winner": _output(["-m", "benchmarks.real_size.winner", folder, budget_ms, str(seed)], {})}


def _run_new(job: str, shared: Path, seed: int, folder: str, *, pool: str | None) -> Cell:
    line = ["-m", "benchmarks.real_size.new_build", job, str(shared), str(seed), folder]
    line += [] if pool is None else ["--pool", pool]
    told, again = _output(line, {}), _output([*line, "--second"], {})
    cell: Cell = told | {"second": {name: again[name] for name in ("cpu_seconds", "wall_seconds", "peak_memory_mb")}}
    return cell


def _old_output(line: Sequence[str]) -> Any:
    with old_tree() as tree:
        script = str(Path(__file__).parent / line[0])
        return _output([script, *line[1:]], {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"})


def _output(line: list[str], env: dict[str, str]) -> Any:
    whole = os.environ | ONE_THREAD | env
    return json.loads(subprocess.run([sys.executable, *line], stdout=subprocess.PIPE, check=True, env=whole).stdout)


def _write_tables(cells: Sequence[Cell]) -> None:
    told = origin(runtime="torch", precision="fp32, bf16 scores", seed=0, protocol="")
    told = {name: value for name, value in told.items() if name not in ("seed", "protocol")}
    told["threads"] = 1  # of each build; this process computes nothing
    for name, rows_of in TABLES.items():
        rows = [row | told | machines_of(cells_of(cells, row)) for row in rows_of(cells)]
        if rows:
            names = [*(column for column in rows[0] if column != "protocol"), "protocol"]
            with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
