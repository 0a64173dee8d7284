"""How long preparing and deriving take, and how much memory.

    python -m benchmarks.derive_bench.timing -o benchmarks/results/derive_timing.csv

Every timed arch is new to the deriver; the statistics are read from the cache (caches warm), and ``peak_rise_mb`` is
what resident memory rises by over the loaded base while they are read and subnets are derived. The
DeiT-B-sized base has untrained weights and random images: shapes decide the time. Its statistics come from few
images, which changes the preparation's time alone; memory does not depend on their number.
"""

import argparse
import csv
import dataclasses
import platform
import resource
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_params
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.rotation import narrow

FIELDS = (
    "base", "num_images", "prepare_s", "prepare_peak_rise_mb", "warm_s", "subnets", "derive_median_s", "derive_max_s",
    "refine_s", "refine_images", "base_mb", "gram_mb", "peak_rise_mb", "threads", "versions",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """One base, the images of its statistics, the subnets timed, and the images of one refinement."""

    base: str
    num_images: int
    subnets: int
    refine_images: int


def random_arch(base: Arch, rng: np.random.Generator) -> Arch:
    """Draw widths for every block; now and then a branch or the stream's width goes too."""
    blocks = []
    for full in base.blocks:
        block = BlockSpec(
            int(rng.integers(1, full.num_heads + 1)),
            int(rng.integers(1, full.qk_dim // 4 + 1)) * 4,
            int(rng.integers(1, full.v_dim // 4 + 1)) * 4,
            int(rng.integers(1, full.mlp_width // 8 + 1)) * 8,
        )
        draw = rng.random()
        if draw < 0.1:
            block = dataclasses.replace(block, num_heads=0, qk_dim=0, v_dim=0)
        elif draw < 0.2:
            block = dataclasses.replace(block, mlp_width=0)
        blocks.append(block)
    arch = dataclasses.replace(base, blocks=tuple(blocks))
    return narrow(arch, base.embed_dim * 5 // 6 // 8 * 8) if rng.random() < 0.3 else arch


def prepare(case: Case, cache: Path) -> dict[str, object]:
    """Take statistics and factorise into a fresh cache; run in a process of its own, since peak memory never falls."""
    _, deriver = _opened(case, cache)
    before = _resident_mb()
    deriver.prepare()
    return {"prepare_s": round(deriver.prepare_seconds, 1), "prepare_peak_rise_mb": round(_peak_mb() - before, 1)}


def derive(case: Case, cache: Path) -> dict[str, object]:
    """Derive with warm caches, then refine once; run in a process of its own."""
    base, deriver = _opened(case, cache)
    before = _resident_mb()
    plan = deriver.prepare()
    rng = np.random.default_rng(1)
    times = []
    for _ in range(case.subnets):
        arch = random_arch(base.arch, rng)
        start = time.perf_counter()
        deriver.derive(arch)
        times.append(time.perf_counter() - start)
    rise = _peak_mb() - before
    start = time.perf_counter()
    deriver.derive_refined(random_arch(base.arch, rng))
    refine_s = time.perf_counter() - start
    held = [t for solver in plan.neurons.values() for t in vars(solver).values()]
    held += [t for moments in plan.moments.branches.values() for t in vars(moments).values()]
    return {
        "warm_s": round(deriver.prepare_seconds, 1),
        "subnets": case.subnets,
        "derive_median_s": round(statistics.median(times), 4),
        "derive_max_s": round(max(times), 4),
        "refine_s": round(refine_s, 2),
        "refine_images": case.refine_images,
        "base_mb": round(4 * count_params(base.arch) / 1e6, 1),
        "gram_mb": round(sum(t.numel() * t.element_size() for t in held) / 1e6, 1),
        "peak_rise_mb": round(rise, 1),
        "threads": torch.get_num_threads(),
    }


def _opened(case: Case, cache: Path) -> tuple[Base, Deriver]:
    torch.manual_seed(0)
    base = load_base(case.base)
    rng = np.random.default_rng(0)
    height, width = sides_of(base.arch.img_size)
    count = max(case.num_images, case.refine_images)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8))
    split = SplitTensors(images, torch.arange(count) % 10)
    options = DeriveOptions(
        num_images=case.num_images, sensitivity_images=min(256, case.num_images), refine_images=case.refine_images
    )
    return base, Deriver(base.model, split, base.preprocess, options=options, cache=Cache(cache))


def _resident_mb() -> float:
    """What is in memory now: an earlier peak, of loading the base, would hide a part of the rise."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1e3


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux


def main() -> None:
    """Measure all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/derive_timing.csv"))
    parser.add_argument("--skip-large", action="store_true", help="leave the DeiT-B-sized base out")
    options = parser.parse_args()
    cases = [Case("default", 250, 30, 250), Case("default", 500, 30, 1000)]
    if not options.skip_large:
        cases.append(Case("random:deit_base_patch16_224", 16, 10, 16))
    rows = []
    for case in cases:
        row: dict[str, object] = {"base": case.base, "num_images": case.num_images}
        with tempfile.TemporaryDirectory() as cache:
            for step in (prepare, derive):
                with get_context("spawn").Pool(1) as pool:
                    row |= pool.apply(step, (case, Path(cache)))
        rows.append(row | {"versions": f"torch {torch.__version__}, Python {platform.python_version()}"})
        print(rows[-1], flush=True)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
