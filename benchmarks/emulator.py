"""Hold the emulated boards against real ones, row by row, by constants that never saw the row's family or model.

    make bench-emulator

Writes under ``results/``:
- ``emulator_lofo.csv``: the Jetson Nano, one model family left out of the fit at a time.
- ``emulator_orin.csv``: the Orin Nano, one model left out at a time in all its precisions, batches and modes; rows
  without a power mode are judged at 7 W, anchor nothing and are counted apart.
- ``emulator_extrapolation.csv``: how far extrapolations are off, which board intervals widen by.
- ``emulator_sanity.csv``: what else is published, for every board; plain ViTs, or that none is published.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.emulator_extrapolation import Record, carry_to_ampere, leave_groups_out, unlabelled_records
from benchmarks.emulator_fit import (
    NANO_PRIORS,
    ORIN_PRIORS,
    Judged,
    Sample,
    fit_constants,
    fitted_names,
    judge,
    kendall_tau,
    launches,
    leave_families_out,
    leave_models_out,
    mape,
    of_precision,
    other_board_samples,
    samples_from_rows,
    timeline_of,
)
from benchmarks.emulator_graphs import NANO_CSV, OPSET, ORIN_CSV, read_rows
from nuwa_search.core.device import Precision
from nuwa_search.core.emulator import EMULATOR_VERSION
from nuwa_search.latency.emulator.boards import BOARDS, JETSON_NANO, Board
from nuwa_search.latency.emulator.constants import Calibration, load_calibration
from nuwa_search.latency.emulator.interval import log_halfwidth
from nuwa_search.latency.emulator.precision import fusion_rules
from nuwa_search.latency.emulator.timeline import Timeline, timeline_from_kernels

RESULTS = Path(__file__).parent / "results"

# Extrapolated by hand from published shares of peak; nobody has published these latencies.
BRACKETS_MS = {
    "deit_tiny_patch16_224": (18.0, 27.0),
    "deit_small_patch16_224": (65.0, 98.0),
    "deit_base_patch16_224": (248.0, 373.0),
}
# FP32 over FP16 latency as published.
PRECISION_RATIOS = {"resnet50": 1.94, "resnext50_32x4d": 1.79}
SHOWN = ["timm_name", "board", "batch", "precision", "measured_ms", "emulated_ms", "error_pct", "inside", "fitted_ms"]


def main() -> None:
    """Judge, write the tables, print them."""
    calibration = load_calibration()
    nano_samples = samples_from_rows(read_rows(NANO_CSV))
    orin_rows = read_rows(ORIN_CSV)
    labelled = samples_from_rows([r for r in orin_rows if r.is_labelled])
    unlabelled = samples_from_rows([r for r in orin_rows if not r.is_labelled])
    nano, ampere = fit_constants(nano_samples, NANO_PRIORS), fit_constants(labelled, ORIN_PRIORS)

    left_out = leave_families_out(nano_samples, NANO_PRIORS)
    table = judged_table(left_out, judge(nano_samples, nano), calibration, protocol="family left out")
    write(table.sort_values(["precision", "family", "timm_name"]), "emulator_lofo.csv", columns=SHOWN)
    for precision in ("fp16", "fp32"):
        say(f"jetson-nano, families left out, {precision}", of_precision(left_out, precision), calibration)
    for is_open, what in ((False, "state"), (True, "leave open")):
        part = [j for j in of_precision(left_out, "fp16") if j.sample.is_doubtful is is_open]
        say(f"of these, rows whose sources {what} precision and resolution", part, calibration)
    print(f"Kendall tau {kendall_tau(of_precision(left_out, 'fp16')):.3f}, {len(fitted_names(NANO_PRIORS))} constants")

    models_out, as_7w = leave_models_out(labelled, ORIN_PRIORS), judge(unlabelled, ampere)
    orin = judged_table(models_out, judge(labelled, ampere), calibration, protocol="model left out")
    apart = judged_table(as_7w, as_7w, calibration, protocol="power mode not stated: judged at 7 W, never fitted")
    write(pd.concat([orin, apart]), "emulator_orin.csv", columns=SHOWN)
    say("jetson-orin-nano, models left out", models_out, calibration)
    say("jetson-orin-nano, rows without a power mode, as 7 W", as_7w, calibration)
    print(f"{len(fitted_names(ORIN_PRIORS))} constants")

    kind = "no row of the group"
    records = leave_groups_out(nano_samples, NANO_PRIORS, nano, kind=kind)
    records += leave_groups_out(labelled, ORIN_PRIORS, ampere, kind=kind)
    records += unlabelled_records(unlabelled, ampere) + carry_to_ampere(labelled, nano)
    write(extrapolation_table(records), "emulator_extrapolation.csv")
    write(sanity_table(calibration, labelled), "emulator_sanity.csv")


def write(table: pd.DataFrame, name: str, *, columns: list[str] | None = None) -> None:
    """Write a table and print it, or some of its columns."""
    table.to_csv(RESULTS / name, index=False)
    print(f"\n{name}")
    print((table if columns is None else table[columns]).to_string(index=False, na_rep="-"))


def say(title: str, judged: Sequence[Judged], calibration: Calibration) -> None:
    """Print the mean error, every model weighing the same, and how many rows lie inside the interval."""
    rows = [(j, row.latency_ms) for j in judged for row in j.sample.rows]
    inside = sum(is_inside(j, ms, calibration) for j, ms in rows)
    models = len({j.sample.timm_name for j in judged})
    print(f"{title}: MAPE {mape(judged):.1%}, {inside} of {len(rows)} rows inside the board interval, {models} models")


def is_inside(judged: Judged, measured_ms: float, calibration: Calibration) -> bool:
    """Say whether the board lies in the interval that is shipped, put around a figure that never saw the row."""
    board = judged.sample.board
    timeline = timeline_of(judged.sample, calibration.constants_of(board))
    factor = float(np.exp(log_halfwidth(timeline, board, calibration)))
    return judged.emulated_ms / factor <= measured_ms <= judged.emulated_ms * factor


def judged_table(
    left_out: Sequence[Judged], fitted: Sequence[Judged], calibration: Calibration, *, protocol: str
) -> pd.DataFrame:
    """One line per published row, with the emulated latency from a fit that never saw it."""
    by_sample = {_key(j.sample): j.emulated_ms for j in fitted}
    versions = " ".join(f"{name}-{version(name)}" for name in ("torch", "timm", "onnx", "scipy"))
    return pd.DataFrame(
        {
            "model": row.model,
            "timm_name": row.timm_name,
            "family": row.family,
            "board": row.board,
            "img_size": row.img_size,
            "batch": row.batch,
            "precision": row.precision,
            "measured_ms": row.latency_ms,
            "pooled_measured_ms": round(j.sample.measured_ms, 3),
            "emulated_ms": round(j.emulated_ms, 3),
            "error_pct": round(100 * (j.emulated_ms / row.latency_ms - 1), 2),
            "inside": is_inside(j, row.latency_ms, calibration),
            "fitted_ms": round(by_sample[_key(j.sample)], 3),
            "protocol": protocol + (", transfers included" if j.sample.has_transfers else ""),
            "opset": OPSET,
            "emulator": EMULATOR_VERSION,
            "versions": versions,
            "source": row.source,
        }
        for j in left_out
        for row in j.sample.rows
    )


def _key(sample: Sample) -> tuple[object, ...]:
    return sample.timm_name, sample.img_size, sample.batch, sample.precision, sample.board.name


def extrapolation_table(records: Sequence[Record]) -> pd.DataFrame:
    """One line per row that was told by extrapolation."""
    return pd.DataFrame(
        {
            "extrapolation": r.kind,
            "group": r.group,
            "timm_name": r.judged.sample.timm_name,
            "board": r.judged.sample.board.name,
            "batch": r.judged.sample.batch,
            "precision": r.judged.sample.precision,
            "measured_ms": round(r.judged.sample.measured_ms, 3),
            "emulated_ms": round(r.judged.emulated_ms, 3),
            "off_by_factor": round(float(np.exp(abs(r.judged.log_ratio))), 3),
        }
        for r in records
    )


def sanity_table(calibration: Calibration, labelled: Sequence[Sample]) -> pd.DataFrame:
    """What is published of each board beside what the shipped emulator says, and what the row is to the fit."""
    lines: list[dict[str, object]] = []

    def add(board: Board, fact: str, model: str, published: tuple[float, float], emulated: float, basis: str) -> None:
        low, high = published
        outside = max(low / emulated, emulated / high, 1.0) - 1
        lines.append({"board": board.name, "fact": fact, "model": model, "low": low, "high": high})
        lines[-1] |= {"emulated": round(emulated, 3), "outside_pct": round(100 * outside, 1), "basis": basis}

    for board in BOARDS.values():
        vits = [s for s in labelled if s.board is board and s.family == "ViT"]
        others = other_board_samples(board.name) if board.is_carried else []
        for sample in (*vits, *others):
            ms = timeline_of(sample, calibration.constants_of(board)).total_ms
            basis = "plain ViT, in the fit" if sample in vits else "not fitted, power mode not stated"
            add(board, "fp16 ms", sample.timm_name, (sample.measured_ms, sample.measured_ms), ms, basis)
        if not vits:
            ms = _timeline("vit_base_patch16_224", board, "fp16", calibration).total_ms
            lines.append({"board": board.name, "fact": "fp16 ms", "model": "vit_base_patch16_224"})
            lines[-1] |= {"emulated": round(ms, 3), "basis": "plain ViT: none is published for this board and mode"}
    for model, bracket in BRACKETS_MS.items():
        ms = _timeline(model, JETSON_NANO, "fp16", calibration).total_ms
        add(JETSON_NANO, "fp16 ms", model, bracket, ms, "plain ViT: bracket extrapolated by hand, not published")
    for model, ratio in PRECISION_RATIOS.items():
        full, half = (_timeline(model, JETSON_NANO, p, calibration).total_ms for p in ("fp32", "fp16"))
        add(JETSON_NANO, "fp32 over fp16", model, (ratio, ratio), full / half, "published ratio")
    return pd.DataFrame(lines)


def _timeline(model: str, board: Board, precision: Precision, calibration: Calibration) -> Timeline:
    kernels, _ = launches(model, 224, rules=fusion_rules(board, precision))
    return timeline_from_kernels(kernels, board, precision=precision, constants=calibration.constants_of(board))


if __name__ == "__main__":
    main()
