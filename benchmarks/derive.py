"""Accuracy of subnets straight after derivation, against other ways of cutting; see `derive_bench`."""

import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # else `search` would be the script beside this one
runpy.run_module("benchmarks.derive_bench", run_name="__main__")
