"""Measure collaborations over shaped networks: ``python -m benchmarks.collaborate_net`` (root, ``ip`` and ``tc``).

    python -m benchmarks.collaborate_net                 sub-models made for this: quarters of noisy pictures
    python -m benchmarks.collaborate_net --case FOLDER   those that nuwa decompose wrote, with images of --data

A row that is in the table is not measured again; --anew does.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.collaborate_net.case import MADE
from benchmarks.collaborate_net.made import BOARDS
from benchmarks.collaborate_net.namespaces import CENTRE, namespaces
from benchmarks.deploy_tables import VERSIONS, read_rows, write_rows
from benchmarks.old_tree import ROOT

TABLE = ROOT / "benchmarks" / "results" / "collaborate_network.csv"
RATES_MBIT = (10.0, 100.0)
DELAY_MS = 5.0
"""Of a round trip; half of it each way."""


def main() -> int:
    """Measure every cell that is missing, and write the table after each."""
    args = _arguments()
    if os.geteuid() or not all(shutil.which(name) for name in ("ip", "tc")):
        print("network namespaces need root, ip and tc: nothing was measured", file=sys.stderr)
        return 1
    sub_models = MADE if args.case == MADE else Path(args.case).name
    for mbit in RATES_MBIT:
        key = {"sub_models": sub_models, "mbit": str(mbit)}
        known = [row for row in read_rows(args.table) if "sub_models" in row]  # tables of before had no such column
        others = [row for row in known if key.items() - row.items()]
        if len(others) < len(known) and not args.anew:
            continue
        with tempfile.TemporaryDirectory() as place, namespaces(len(BOARDS), mbit=mbit):
            told = [place, str(mbit), str(DELAY_MS), args.case, args.data, str(args.slower)]
            line = [sys.executable, "-m", "benchmarks.collaborate_net.coordinate", *told]
            subprocess.run(["ip", "netns", "exec", CENTRE, *line], check=True)
            cell = json.loads(Path(place, "cell.json").read_text())
        print(json.dumps(cell, indent=1))
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in cell.items()}
        slower = 1.0 if args.case == MADE else args.slower
        new = {"sub_models": sub_models, "slower": slower, **rounded, "versions": VERSIONS}
        before = [{name: row.get(name, "") for name in new} for row in others]
        write_rows(args.table, [*before, new])
    print(args.table)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default=MADE, metavar="FOLDER")
    parser.add_argument("--data", default=str(ROOT / "runs" / "bench-collaborate" / "data"))
    parser.add_argument("--slower", type=float, default=4.0, help="emulate this many times the predicted latency")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--anew", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
