"""Nets for pixels at equal latency and equal tuning: ours against other ways of cutting, three seeds.

    python -m benchmarks.map_rivals            after benchmarks.segmentation, whose searches are ours

Equal latency: each rival's net takes, emulated, at most the least latency of our three winners, and as nearly that as
its family allows. Equal tuning: every net, ours cut again from its search's answer among them, gets a head fitted to
its own tokens, and the same few steps on the same images in the same order with the same teacher; fewer than a search
takes. The test split is counted image by image, and the difference ours - rival bootstrapped over images, all nets
seeing the same ones. Cells that ran are in ``results/segmentation_rivals_cells.jsonl`` and are not run again; the table
``segmentation_rivals.csv`` is written anew after each. One thread.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks.map_rivals.cells import append_cell, read_cells, run_cell
from benchmarks.map_rivals.methods import METHODS
from benchmarks.map_rivals.setting import open_setting
from benchmarks.map_rivals.tables import ranks, table_of
from benchmarks.segmentation import DATA, RESULT

STEPS = 25
"""Steps of 16 images, a sixth of a search's: three seeds of five methods then take under an hour of one core."""
WORK = Path("runs/bench-segmentation")


def main() -> None:
    """Run what is missing, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only-seeds", default=None, help="run cells of these alone; all searches set the latency")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-o", "--output", type=Path, default=RESULT.with_name("segmentation_rivals.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    run = [int(seed) for seed in (options.only_seeds or options.seeds).split(",")]
    cells_path = options.output.with_name(f"{options.output.stem}_cells.jsonl")
    known = {(cell.method, cell.seed) for cell in read_cells(cells_path)}
    missing = [(seed, method) for seed in run for method in options.methods if (method, seed) not in known]
    if missing:
        setting = open_setting(data=options.data, work=options.work, seeds=seeds)
    for seed, method in missing:
        cell = run_cell(setting, method, seed=seed, steps=options.steps, work=options.work / "rivals")
        append_cell(cells_path, cell)
        print(
            f"seed {seed} {method} ({cell.note}): {cell.latency_ms:.2f} ms, mIoU {100 * cell.untuned.miou:.1f} % cut, "
            f"{100 * cell.tuned.miou:.1f} % tuned; {cell.cut_cpu_s:.0f} + {cell.tune_cpu_s:.0f} CPU s",
            flush=True,
        )
        pd.DataFrame(table_of(read_cells(cells_path))).to_csv(options.output, index=False, float_format="%.4g")
    table = pd.DataFrame(table_of(read_cells(cells_path)))
    table.to_csv(options.output, index=False, float_format="%.4g")
    print(table.to_string(index=False))
    print("\n".join(ranks(read_cells(cells_path))))


if __name__ == "__main__":
    main()
