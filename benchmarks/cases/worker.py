"""Answer all cases with one tree's modules; prints JSON. Started by ``benchmarks.cases``, never by hand."""

import importlib
import json
import os
import pkgutil
import sys
import tempfile
import warnings
from pathlib import Path

import benchmarks.cases
from benchmarks.cases.frame import CASES, OLD, answer

NOT_CASES = {"__main__", "frame", "worker"}


def main() -> None:
    """Run every case in a folder of its own."""
    warnings.simplefilter("ignore")  # the old commit's are not this table's subject
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for module in sorted(m.name for m in pkgutil.iter_modules(benchmarks.cases.__path__)):
        if module not in NOT_CASES and not module.endswith("_files"):
            importlib.import_module(f"benchmarks.cases.{module}")
    rows = []
    for one in CASES:
        if wanted in one.name:
            with tempfile.TemporaryDirectory() as folder:
                rows.append({"case": one.name, "right": one.right, "answer": answer(one, Path(folder))})
    if OLD in os.environ and any(name.partition(".")[0] == "nuwa_search" for name in sys.modules):
        sys.exit("a case imported today's modules into the old commit's run")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
