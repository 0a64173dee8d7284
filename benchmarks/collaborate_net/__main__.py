"""Measure collaborations over shaped networks: ``python -m benchmarks.collaborate_net`` (root, ``ip`` and ``tc``)."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.collaborate_net.made import BOARDS
from benchmarks.collaborate_net.namespaces import CENTRE, namespaces

TABLE = Path(__file__).resolve().parents[1] / "results" / "collaborate_network.csv"
RATES_MBIT = (10.0, 100.0)
DELAY_MS = 5.0
"""Of a round trip; half of it each way."""


def main() -> int:
    """Measure every cell and write the table."""
    if os.geteuid() or not all(shutil.which(name) for name in ("ip", "tc")):
        print("network namespaces need root, ip and tc: nothing was measured", file=sys.stderr)
        return 1
    rows = []
    for mbit in RATES_MBIT:
        with tempfile.TemporaryDirectory() as place, namespaces(len(BOARDS), mbit=mbit):
            line = [sys.executable, "-m", "benchmarks.collaborate_net.coordinate", place, str(mbit), str(DELAY_MS)]
            subprocess.run(["ip", "netns", "exec", CENTRE, *line], check=True)
            rows.append(json.loads(Path(place, "cell.json").read_text()))
        print(json.dumps(rows[-1], indent=1))
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
            )
    print(TABLE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
