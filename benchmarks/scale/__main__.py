"""Run every case of scale that has no row yet, and write its figures.

    python -m benchmarks.scale                       all of them
    python -m benchmarks.scale --only two_workers    some
    python -m benchmarks.scale --small -o /tmp/t.csv one short run of each, to see that they work

Rows of ``benchmarks/results/scale.csv`` that are there are kept, so a broken-off run goes on with the next case;
``--anew`` begins again. Ends with 1 where a figure is not as wanted.
"""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.deploy_tables import append_row, has_row, origin, read_rows
from benchmarks.scale.figure import Case

PARTS: tuple[str, ...] = ("two_nodes", "farm", "asking")
"""Modules of cases: each has a mapping ``CASES`` of names to what runs them."""
TABLE = Path("benchmarks/results/scale.csv")
PROTOCOL = "processes of one machine; databases in folders of their own"


def main() -> int:
    """Run what is missing."""
    cases: dict[str, Case] = {}
    for part in PARTS:
        cases |= importlib.import_module(f"benchmarks.scale.{part}").CASES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(cases))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=TABLE)
    args = parser.parse_args()
    if args.anew:
        args.output.unlink(missing_ok=True)
    told = origin(runtime="torch", precision="fp32", seed=0, protocol=PROTOCOL)
    for name, case in cases.items():
        if (args.only and name not in args.only) or has_row(args.output, {"case": name}):
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="nuwa-scale-") as folder:
            Path(folder).chmod(0o755)  # a database server may run as a user of its own
            figures = list(case(Path(folder), args.small))
        seconds = round(time.monotonic() - begun, 1)
        for one in figures:
            wanted = "" if one.wanted is None else f"{one.wanted[0]} {one.wanted[1]:g}"
            row = {"case": name, "figure": one.name, "value": f"{one.value:g}", "wanted": wanted, "met": one.is_met}
            append_row(args.output, {**row, "note": one.note, "case_seconds": seconds, **told})
    return int(any(row["met"] == "False" for row in read_rows(args.output)))


if __name__ == "__main__":
    sys.exit(main())
