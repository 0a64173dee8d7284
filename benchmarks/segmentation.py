"""Searches for nets that answer for pixels, with default options, beside the uncut base with its own tuned head.

    make bench-segmentation

One search per seed on the magnetic tiles; searches whose answers lie in the work folder are not run again. The test
split is then counted anew, image by image, for the base and for every bundle, and the difference of mIoU bootstrapped
over images: in each resample the nets of all seeds see the same images as the base, and the seeds' mean is taken.
Latencies are emulated. The base's head is the one that a search begins with: fitted and tuned on the same training
images, chosen on the same search split. Writes ``results/segmentation.csv``.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nuwa_search.core.base import load_base
from nuwa_search.core.settings import find_cache_dir
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tasks.pixel_scores import RESAMPLES, TAIL, PixelScores
from nuwa_search.core.tensors import SplitTensors, split_tensors, task_tensors
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.train.score import tally_pixels

RESULT = Path(__file__).parent / "results" / "segmentation.csv"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "magnetic_tile"
BUDGET_MS = 30


def main() -> None:
    """Search what is missing, count, and write the table."""
    parser = argparse.ArgumentParser(description="Nets for pixels beside their base")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-segmentation"))
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for seed in seeds:
        search(seed, data=arguments.data, work=arguments.work)
    table = pd.DataFrame(lines_of(seeds, data=arguments.data, work=arguments.work))
    table.to_csv(arguments.output, index=False, float_format="%.4g")
    print(table.to_string(index=False))


def search(seed: int, *, data: Path, work: Path) -> None:
    """Run one search as a user does, unless its answer is there; keep the answer and the seconds of the processor."""
    answer = work / f"seed{seed}.json"
    if answer.is_file() and answer.stat().st_size:
        return
    work.mkdir(parents=True, exist_ok=True)
    words = ["--data", data, "--budget-ms", BUDGET_MS, "--seed", seed, "--study", f"seed{seed}", "--json"]
    places = ["-o", work / f"bundle{seed}", "--db", work / "nuwa.sqlite", "--cache-dir", work / "cache"]
    line = [str(Path(sys.executable).with_name("nuwa-search")), *(str(word) for word in (*words, *places))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (work / f"seed{seed}.cpu").write_text(f"{cpu_s:.0f}\n")
    answer.write_text(done.stdout)


def lines_of(seeds: list[int], *, data: Path, work: Path) -> list[dict[str, object]]:
    """Make a row per seed, and one for all of them together."""
    base = load_base(DEMO_BASE, cache_dir=find_cache_dir())
    task = open_task(base, data=str(data), label_column=None, classes=None, seed=0)
    base = base.for_task(task.kind)
    test = split_tensors(task.test, base.preprocess)
    teacher = task_base(base, task, task_tensors(task, base.preprocess)).model
    theirs = tally_pixels(teacher, test, base.preprocess)[0].scores()
    ours = [counts_of(work / f"bundle{seed}", test) for seed in seeds]
    lines = []
    for seed, scores in zip(seeds, ours, strict=True):
        answer = json.loads((work / f"seed{seed}.json").read_text())
        latency_ms = answer["subnet"]["measured_latency_ms"]
        line = {
            "seeds": str(seed),
            "latency_ms": latency_ms,
            "frames_per_s": 1000 / latency_ms,
            "megapixels_per_s": 1e-3 * test.images[0, 0].numel() / latency_ms,
            "provenance": answer["subnet"]["provenance"],
            "miou": scores.miou,
            **compared(theirs, [scores]),
            "cpu_s": float((work / f"seed{seed}.cpu").read_text()),
        }
        lines.append(line)
    pooled = {"seeds": " ".join(str(seed) for seed in seeds), "miou": float(np.mean([one.miou for one in ours]))}
    return [*lines, {**pooled, **compared(theirs, ours)}]


def counts_of(bundle: Path, test: SplitTensors) -> PixelScores:
    """Count a bundle's pixels on the test split."""
    found = read_bundle(bundle)
    return tally_pixels(found.load_model(), test, found.preprocess)[0].scores()


def compared(base: PixelScores, ours: list[PixelScores]) -> dict[str, object]:
    """Bootstrap the mean difference of nets to the base over images: figures in points."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(base.num_images, np.full(base.num_images, 1 / base.num_images), size=RESAMPLES)
    against = mious(base, draws)
    differences = np.mean([mious(one, draws) for one in ours], axis=0) - against
    low, high = np.quantile(differences, [TAIL, 1 - TAIL])
    gained = float(np.mean([one.miou for one in ours])) - base.miou
    return {
        "miou_base": base.miou,
        "difference_points": 100 * gained,
        "low_points": 100 * float(low),
        "high_points": 100 * float(high),
        "num_images": base.num_images,
    }


def mious(scores: PixelScores, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the mIoU of resampled images, each drawn so often (R, N): (R,); classes without pixels are left out."""
    hits, truths, answers = (draws @ values for values in (scores.hits, scores.truths, scores.answers))
    union = truths + answers - hits
    iou = np.where(truths > 0, hits / np.where(union > 0, union, 1), np.nan)
    return np.asarray(np.nanmean(iou, axis=1), np.float64)


if __name__ == "__main__":
    main()
