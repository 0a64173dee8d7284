"""Put a toy search through every fault, and write what was lost, done twice or came out otherwise.

    python -m benchmarks.faults                    20 kills of each process, then every condition
    python -m benchmarks.faults --kills 2 --only kill_search full_disk

Rows of ``benchmarks/results/faults.csv`` that are there are kept, so a broken-off run goes on; ``--anew`` begins again.
"""

import argparse
import dataclasses
import functools
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.deploy_tables import append_row, has_row, origin
from benchmarks.faults.conditions import CONDITIONS
from benchmarks.faults.kills import kill_finetune, kill_profile, kill_search, kill_server, kill_worker_of
from benchmarks.faults.outcome import whole_search
from benchmarks.faults.row import FaultRow
from benchmarks.faults.toy import STEPS, TRIALS, Toy, say

KILLS: tuple[Callable[..., FaultRow], ...] = (kill_search, kill_profile, kill_finetune, kill_worker_of, kill_server)
TABLE = Path("benchmarks/results/faults.csv")
PROTOCOL = (
    f"toy base of three blocks, {TRIALS} trials, {STEPS} steps; every process is followed to its end and held against "
    "the unbroken one"
)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[one.__name__ for one in (*KILLS, *CONDITIONS)])
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=TABLE)
    args = parser.parse_args()
    if args.anew:
        args.output.unlink(missing_ok=True)
    told = origin(runtime="onnxruntime", precision="fp32", seed=args.seed, protocol=PROTOCOL)
    with tempfile.TemporaryDirectory(prefix="nuwa-faults-") as folder:
        Path(folder).chmod(0o755)  # a database server may run as a user of its own
        toy = Toy(Path(folder) / "toy")
        whole = whole_search(toy)
        works = {
            one.__name__: functools.partial(one, kills=args.kills, chance=random.Random(args.seed)) for one in KILLS
        }
        works |= {one.__name__: functools.partial(one) for one in CONDITIONS}
        for name, work in works.items():
            if (args.only and name not in args.only) or has_row(args.output, {"case": name}):
                continue
            begun = time.monotonic()
            row = work(toy, whole)
            seconds = round(time.monotonic() - begun, 1)
            append_row(args.output, {"case": name, **dataclasses.asdict(row), "seconds": seconds, **told})
    say(args.output.read_text())


if __name__ == "__main__":
    main()
