"""Fit the emulator to the published latencies and store constants and board interval beside it.

    python -m benchmarks.calibrate_emulator

Reads ``../shared/data/jetson_nano/measured.csv``, exports its models once (cached under ``work/``), and
writes ``latency/emulator/calibration.json``. The board interval comes from families left out of the
fit, never from the fit's own error.
"""

from emulator_fit import (
    PRIORS,
    conformal_factors,
    fit_constants,
    judge,
    kendall_tau,
    leave_families_out,
    mape,
    of_precision,
    samples_from_rows,
    timeline_of,
)
from emulator_graphs import read_rows

from nuwa_search.latency.emulator.constants import CALIBRATION_PATH, CONSTANT_NAMES, Calibration, calibration_json
from nuwa_search.latency.emulator.timeline import matmul_share_of_time

COVERAGE = 0.9


def main() -> None:
    """Fit, judge left-out families, store, and print what came out."""
    samples = samples_from_rows(read_rows())
    constants = fit_constants(samples)
    fitted = judge(samples, constants)
    left_out = of_precision(leave_families_out(samples), "fp16")
    calibration = Calibration(
        constants=constants,
        interval_factors=conformal_factors(left_out, coverage=COVERAGE),
        coverage=COVERAGE,
        num_families=len({j.sample.family for j in left_out}),
        max_matmul_share=max(matmul_share_of_time(timeline_of(s, constants)) for s in samples),
    )
    CALIBRATION_PATH.write_text(calibration_json(calibration))
    for name in CONSTANT_NAMES:
        print(f"{name:20s} {getattr(constants, name):8.3f}   prior {PRIORS[name].value:g}")
    for judged, title in ((fitted, "fit, all rows"), (left_out, "families left out, FP16")):
        print(f"{title}: MAPE {mape(judged):.1%}, Kendall tau {kendall_tau(judged):.3f}, n {len(judged)}")
    low, high = calibration.interval_factors
    print(f"board interval at {COVERAGE:.0%}: x{low:.3f} to x{high:.3f}")


if __name__ == "__main__":
    main()
