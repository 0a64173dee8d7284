"""Search methods against each other at equal budgets, evaluations and distillation; see `--help`.

python benchmarks/search.py            # the default grid, cell by cell; done cells are skipped
python benchmarks/search.py tables     # tables from the cells that ran
python benchmarks/search.py predictor  # the accuracy predictor on what the cells scored
python benchmarks/search.py exhaustive # a small space, every arch scored
python benchmarks/search.py fronts     # area of the front against scored subnets
python benchmarks/search.py speed      # a study of 200 scored subnets
"""

import runpy
import sys
from pathlib import Path

# a script's folder comes first on the path, where this file would hide the package `search`
sys.path[0] = str(Path(__file__).resolve().parents[1])
runpy.run_module("benchmarks.search_bench", run_name="__main__")
