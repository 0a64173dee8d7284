"""Hold today's answers against those of an old commit, and write the table.

    python -m benchmarks.cases                 all cases, benchmarks/results/cases.csv
    python -m benchmarks.cases --only pixels   those whose name holds a word; nothing is written

A case is a function in a file of this folder. Exit code 1 where an answer of this tree is not the right one.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.cases.frame import OLD, is_right
from benchmarks.old_tree import COMMIT, ROOT, old_tree


def main() -> int:
    """Run both trees, print, and write a row per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this; nothing is written")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks/results/cases.csv")
    args = parser.parse_args()
    with old_tree() as tree:
        before = ask([str(tree), str(ROOT)], args.only, {OLD: "1"})
    now = ask([str(ROOT)], args.only, {})
    rows = [
        {"case": new["case"], COMMIT: old["answer"], "now": new["answer"], "right value": new["right"]}
        for old, new in zip(before, now, strict=True)
    ]
    wrong = [row for row in rows if not is_right(row["now"], row["right value"])]
    for row in rows:
        print(*("", "WRONG NOW: ")[row in wrong : (row in wrong) + 1], row["case"], sep="")
        print(f"    {COMMIT}: {row[COMMIT]}\n    now:     {row['now']}\n    right:   {row['right value']}")
    same = sum(is_right(row[COMMIT], row["right value"]) for row in rows)
    print(f"{len(rows)} cases: right at {COMMIT} {same}, right now {len(rows) - len(wrong)}")
    if not args.only:
        with args.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 1 if wrong else 0


def ask(path: list[str], only: str, environment: dict[str, str]) -> list[dict[str, str]]:
    """Answer all cases in a process of its own, with the modules of the first folder of ``path``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1", **environment}
    line = [sys.executable, "-m", "benchmarks.cases.worker", only]
    done = subprocess.run(line, cwd=path[0], env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stderr}")
    rows: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return rows


if __name__ == "__main__":
    sys.exit(main())
