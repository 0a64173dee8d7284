"""The main job on three tasks and three seeds, at half of the base's latency on the emulated Jetson Nano.

Usage: python -m benchmarks.main_job BASE DATA OUT_DIR     (runs what is missing, then writes the table)
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

TASKS = {
    "vehicles_1": "bicycle,bus,motorcycle,pickup_truck,train",
    "people": "baby,boy,girl,man,woman",
    "large_carnivores": "bear,leopard,lion,tiger,wolf",
}
SEEDS = (0, 1, 2)
BUDGET_MS = 5.94
"""Half of 11.89 ms, the default base's latency on the emulated board with seed 0."""
RESULTS = Path(__file__).parent / "results" / "main_job.csv"


def main(base: str, data: str, out: Path) -> None:
    """Run the missing cells one by one and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for task, classes in TASKS.items():
            if not (out / f"{task}-{seed}.json").exists():
                run(base, data, classes, seed, out / f"{task}-{seed}")
    write_table(out)


def run(base: str, data: str, classes: str, seed: int, place: Path) -> None:
    """Run one search; its answer becomes ``place.json``."""
    program = "import sys; from nuwa_search.service.cli.main import main_search; main_search(sys.argv[1:])"
    flags = ["--base", base, "--data", data, "--classes", classes, "--budget-ms", str(BUDGET_MS), "--seed", str(seed)]
    places = ["--db", str(place.parent / "nuwa.sqlite"), "--cache-dir", str(place.parent / "cache"), "-o", str(place)]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags, *places, "--json"], stdout=subprocess.PIPE, check=True
    )
    place.with_suffix(".json").write_bytes(done.stdout)


def write_table(out: Path) -> None:
    """Collect the answers."""
    rows = []
    for path in sorted(out.glob("*-[0-9].json")):
        answer = json.loads(path.read_text())
        base, subnet, device = answer["base"], answer["subnet"], answer["device"]
        rows.append(
            {
                "task": path.stem.rpartition("-")[0],
                "seed": answer["seed"],
                "device": device["name"],
                "provenance": subnet["provenance"],
                "runtime": f"{device['runtime']} {device['runtime_version']}",
                "precision": device["precision"],
                "protocol": "median, budget on it; 250 test images",
                "budget_ms": answer["budget_ms"],
                "base_ms": round(base["latency_ms"], 3),
                "measured_ms": round(subnet["measured_latency_ms"], 3),
                "base_top1_all_classes": base["top1_all_classes"],
                "base_top1_restricted": base["top1_restricted"],
                "top1_derived": subnet["top1_derived"],
                "top1": subnet["top1"],
                "params": subnet["params"],
                "macs": subnet["macs"],
                "scored": answer["trials"]["scored"],
                "seconds": answer["seconds"]["total"],
            }
        )
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    change = sum(row["top1"] - row["base_top1_restricted"] for row in rows) / len(rows)
    print(f"{len(rows)} searches, top1 {100 * change:+.2f} points against the restricted base on average")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
