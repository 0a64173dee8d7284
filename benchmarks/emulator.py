"""Hold the emulated Jetson Nano against real boards: leave-one-family-out over ``measured.csv``.

    make bench-emulator

Writes ``results/emulator_lofo.csv`` (one line per published row) and ``results/emulator_sanity.csv``
(facts that were not fitted: other boards, ratios of precisions, an extrapolated bracket).
"""

from importlib.metadata import version
from pathlib import Path

import pandas as pd
from emulator_fit import (
    Judged,
    fit_constants,
    judge,
    kendall_tau,
    launches,
    leave_families_out,
    mape,
    of_precision,
    samples_from_rows,
)
from emulator_graphs import OPSET, read_rows

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import BOARDS, JETSON_NANO
from nuwa_search.latency.emulator.constants import CONSTANT_NAMES, Constants, load_calibration
from nuwa_search.latency.emulator.timeline import timeline_from_kernels

RESULTS = Path(__file__).parent / "results"

# One ONNX file timed on several boards, FP16, ms (netspresso-trainer's device matrix).
OTHER_BOARDS: dict[str, dict[str, float]] = {
    "resnet18": {"jetson-tx2": 4.19, "jetson-xavier-nx": 1.78, "jetson-orin-nano": 2.00},
    "resnet50": {"jetson-tx2": 11.02, "jetson-xavier-nx": 4.17, "jetson-orin-nano": 4.80},
    "mobilenetv3_small_100": {"jetson-tx2": 3.65, "jetson-xavier-nx": 1.25, "jetson-orin-nano": 1.56},
    "mixnet_s": {"jetson-tx2": 10.66, "jetson-xavier-nx": 5.13, "jetson-orin-nano": 6.34},
}
# Extrapolated by hand from published shares of peak; nobody has published these latencies.
BRACKETS_MS = {
    "deit_tiny_patch16_224": (18.0, 27.0),
    "deit_small_patch16_224": (65.0, 98.0),
    "deit_base_patch16_224": (248.0, 373.0),
}
# FP32 over FP16 latency as published.
PRECISION_RATIOS = {"resnet50": 1.94, "resnext50_32x4d": 1.79}


def main() -> None:
    """Judge, write both tables, print them."""
    samples = samples_from_rows(read_rows())
    constants = fit_constants(samples)
    left_out = leave_families_out(samples)
    table = lofo_table(left_out, judge(samples, constants))
    table.to_csv(RESULTS / "emulator_lofo.csv", index=False)
    columns = ["timm_name", "family", "img_size", "precision", "measured_ms", "emulated_ms", "error_pct", "fitted_ms"]
    print(table[columns].to_string(index=False))
    for precision in ("fp16", "fp32"):
        judged = of_precision(left_out, precision)
        print(
            f"families left out, {precision}: MAPE {mape(judged):.1%}, Kendall tau {kendall_tau(judged):.3f}, "
            f"{len({j.sample.timm_name for j in judged})} models, {len(CONSTANT_NAMES)} fitted constants"
        )
    sanity = sanity_table(load_calibration().constants)
    sanity.to_csv(RESULTS / "emulator_sanity.csv", index=False)
    print(sanity.to_string(index=False))


def lofo_table(left_out: list[Judged], fitted: list[Judged]) -> pd.DataFrame:
    """One line per published row, with the emulated latency from a fit that never saw its family."""
    by_sample = {(j.sample.timm_name, j.sample.img_size, j.sample.precision): j.emulated_ms for j in fitted}
    versions = " ".join(f"{name}-{version(name)}" for name in ("torch", "timm", "onnx", "scipy"))
    ordered = sorted(left_out, key=lambda j: (j.sample.precision, j.sample.family, j.sample.timm_name))
    return pd.DataFrame(
        {
            "model": row.model,
            "timm_name": row.timm_name,
            "family": row.family,
            "img_size": row.img_size,
            "precision": row.precision,
            "measured_ms": row.latency_ms,
            "pooled_measured_ms": round(j.sample.measured_ms, 3),
            "emulated_ms": round(j.emulated_ms, 3),
            "error_pct": round(100 * (j.emulated_ms / row.latency_ms - 1), 2),
            "fitted_ms": round(by_sample[row.timm_name, row.img_size, j.sample.precision], 3),
            "protocol": "family left out" + (", transfers included" if j.sample.has_transfers else ""),
            "fitted_constants": len(CONSTANT_NAMES),
            "opset": OPSET,
            "versions": versions,
            "source": row.source,
        }
        for j in ordered
        for row in j.sample.rows
    )


def sanity_table(constants: Constants) -> pd.DataFrame:
    """Facts that no constant was fitted to, beside what the emulator says."""
    lines: list[dict[str, object]] = []

    def add(fact: str, model: str, low: float, high: float, emulated: float) -> None:
        outside = max(low / emulated, emulated / high, 1.0) - 1
        lines.append({"fact": fact, "model": model, "low": low, "high": high, "emulated": round(emulated, 3)})
        lines[-1]["outside_pct"] = round(100 * outside, 1)

    for model, boards in OTHER_BOARDS.items():
        for board, ms in boards.items():
            add(f"{board} fp16 ms", model, ms, ms, _latency_ms(model, board, "fp16", constants))
    for model, (low, high) in BRACKETS_MS.items():
        add(
            "jetson-nano fp16 ms, extrapolated",
            model,
            low,
            high,
            _latency_ms(model, JETSON_NANO.name, "fp16", constants),
        )
    for model, ratio in PRECISION_RATIOS.items():
        full, half = (_latency_ms(model, JETSON_NANO.name, p, constants) for p in ("fp32", "fp16"))
        add("fp32 over fp16", model, ratio, ratio, full / half)
    return pd.DataFrame(lines)


def _latency_ms(model: str, board: str, precision: Precision, constants: Constants) -> float:
    kernels, _ = launches(model, 224)
    return timeline_from_kernels(kernels, BOARDS[board], precision=precision, constants=constants).total_ms


if __name__ == "__main__":
    main()
