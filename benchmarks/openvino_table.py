"""ONNX Runtime and OpenVINO on this CPU, side by side: the same graphs of five subnets, measured in turn in one run.

    make bench-openvino

The subnets are drawn from the shape of a ViT-S/16 at 224 pixels; weights are random, which no latency depends on. What
is timed is what the devices ``host`` and ``openvino`` time: the same loaded graph, inputs and clock, with one thread.
Short bursts of either runtime follow each other, and the ratio is taken pair by pair: figures of the two devices from
separate runs rest on references of their own and on another moment of the machine. Writes ``results/openvino.csv``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.measuring.bursts import time_inferences, warm_up
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.cpu_graph import open_graph
from nuwa_search.latency.devices.registry import device_spec
from nuwa_search.predictors.sample_archs import sample_archs

RESULT = Path(__file__).parent / "results" / "openvino.csv"
BASE = "random:vit_small_patch16_224"
SEED = 12
PAIRS = 15
BURST = 5
WARMUP_MS = 200.0
OPSETS = (13, 17)
DEVICES = ("host", "openvino")


def main() -> None:
    """Measure, write and print the table."""
    parser = argparse.ArgumentParser(description="ONNX Runtime and OpenVINO on this CPU")
    parser.add_argument("--subnets", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    archs = sample_archs(load_base(BASE).arch, np.random.default_rng(SEED), arguments.subnets)
    lines = []
    for arch in archs:
        for opset in OPSETS:
            lines.append(subnet_line(arch, opset, pairs=arguments.pairs))
            print(lines[-1], flush=True)
    table = pd.DataFrame(lines)
    table.to_csv(arguments.output, index=False, float_format="%.5g")
    print(table.to_string(index=False))


def subnet_line(arch: Arch, opset: int, *, pairs: int) -> dict[str, object]:
    """Measure one subnet at one opset: both latencies, their ratio, and how they were taken."""
    medians = paired_medians_ms(arch, opset, pairs=pairs)
    ratios = medians[:, 1] / medians[:, 0]
    specs = {name: device_spec(name) for name in DEVICES}
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return {
        "arch_id": arch.arch_id,
        "params_m": count_params(arch) / 1e6,
        "macs_g": count_macs(arch) / 1e9,
        "opset": opset,
        "host_ms": float(np.median(medians[:, 0])),
        "openvino_ms": float(np.median(medians[:, 1])),
        "openvino_over_host": float(middle),
        "ratio_q25": float(low),
        "ratio_q75": float(high),
        "pairs": pairs,
        "onnxruntime": specs["host"].runtime_version,
        "openvino": specs["openvino"].runtime_version,
        "precision": specs["openvino"].precision,
        "cpu": dict(specs["host"].options)["cpu"],
        "threads": dict(specs["host"].options)["threads"],
        "seed": SEED,
        "protocol": f"bursts of {BURST} in turn, thread's clock, {WARMUP_MS:g} ms warm-up each, batch 1",
        "provenance": specs["openvino"].provenance,
    }


def paired_medians_ms(arch: Arch, opset: int, *, pairs: int) -> np.ndarray:
    """Time bursts of both runtimes in turn, every other pair in the opposite order: (pairs, 2) medians in ms."""
    content = onnx_from_arch(arch, opset=opset).SerializeToString()
    runs = [open_graph(content, spec=device_spec(name), seed=SEED).run for name in DEVICES]
    for run in runs:
        warm_up(run, warmup_ms=WARMUP_MS, clock=time.thread_time)
    found = np.empty((pairs, len(runs)))
    for k in range(pairs):
        for i in (0, 1) if k % 2 == 0 else (1, 0):
            found[k, i] = np.median(time_inferences(runs[i], count=BURST, clock=time.thread_time))
    return found


if __name__ == "__main__":
    main()
