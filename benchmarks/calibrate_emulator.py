"""Fit the emulator to the published latencies and store constants and board intervals beside it.

    python -m benchmarks.calibrate_emulator

Reads the ``measured.csv`` of the Jetson Nano and of the Orin Nano under ``../shared/data``, exports their models
once (cached under ``work/``), and writes ``latency/emulator/calibration.json``. Board intervals come from rows left
out of the fit, never from the fit's own error.
"""

from benchmarks.emulator_extrapolation import (
    Record,
    carry_to_ampere,
    largest_shares,
    leave_groups_out,
    unlabelled_records,
    worst_per_group,
)
from benchmarks.emulator_fit import (
    COVERAGE,
    NANO_PRIORS,
    ORIN_PRIORS,
    conformal_halfwidth,
    fit_constants,
    fitted_names,
    judge,
    kendall_tau,
    leave_families_out,
    leave_models_out,
    mape,
    of_precision,
    other_board_samples,
    samples_from_rows,
)
from benchmarks.emulator_graphs import NANO_CSV, ORIN_CSV, read_rows
from nuwa_search.latency.emulator.boards import BOARDS
from nuwa_search.latency.emulator.constants import CALIBRATION_PATH, Calibration, Fit, calibration_json


def main() -> None:
    """Fit, judge what was left out, store, and print what came out."""
    nano, nano_records = fit_nano()
    orin, orin_records = fit_orin(nano)
    labelled = samples_from_rows([r for r in read_rows(ORIN_CSV) if r.is_labelled])
    carried = carry_to_ampere(labelled, nano.constants)
    checked = {
        board.name: largest_shares(other_board_samples(board.name), nano.constants)
        for board in BOARDS.values()
        if board.is_carried
    }
    calibration = Calibration(
        fits={"maxwell": nano, "ampere": orin},
        carried=worst_per_group(carried, nano.extrapolated),
        checked_shares=checked,
    )
    CALIBRATION_PATH.write_text(calibration_json(calibration))
    for record in (*nano_records, *orin_records, *carried):
        sample = record.judged.sample
        print(f"{record.kind:36s} {record.group:12s} {sample.timm_name:24s} {record.judged.error:+7.1%}")


def fit_nano() -> tuple[Fit, list[Record]]:
    """Fit the Nano's constants."""
    samples = samples_from_rows(read_rows(NANO_CSV))
    constants = fit_constants(samples, NANO_PRIORS)
    left_out = of_precision(leave_families_out(samples, NANO_PRIORS), "fp16")
    records = leave_groups_out(samples, NANO_PRIORS, constants, kind="no row of the group")
    fit = Fit(
        constants=constants,
        log_halfwidth=conformal_halfwidth(left_out),
        coverage=COVERAGE,
        num_left_out=len({j.sample.family for j in left_out}),
        seen_shares=largest_shares(samples, constants),
        extrapolated=worst_per_group(records),
    )
    for name in fitted_names(NANO_PRIORS):
        print(f"{name:20s} {getattr(constants, name):8.3f}   prior {NANO_PRIORS[name].value:g}")
    for judged, title in ((judge(samples, constants), "fit, all rows"), (left_out, "families left out, FP16")):
        print(f"jetson-nano, {title}: MAPE {mape(judged):.1%}, Kendall tau {kendall_tau(judged):.3f}, n {len(judged)}")
    return fit, records


def fit_orin(nano: Fit) -> tuple[Fit, list[Record]]:
    """Fit the Orin Nano's constants on the rows whose power mode is stated; the others are judged only."""
    rows = read_rows(ORIN_CSV)
    samples = samples_from_rows([r for r in rows if r.is_labelled])
    unlabelled = samples_from_rows([r for r in rows if not r.is_labelled])
    constants = fit_constants(samples, ORIN_PRIORS)
    left_out = leave_models_out(samples, ORIN_PRIORS)
    records = leave_groups_out(samples, ORIN_PRIORS, constants, kind="no row of the group")
    records += unlabelled_records(unlabelled, constants)
    fit = Fit(
        constants=constants,
        log_halfwidth=conformal_halfwidth(left_out, per_row=True),
        coverage=COVERAGE,
        num_left_out=len({j.sample.timm_name for j in left_out}),
        seen_shares=largest_shares(samples, constants),
        extrapolated=worst_per_group(records, nano.extrapolated),
    )
    for name in fitted_names(ORIN_PRIORS):
        print(f"{name:20s} {getattr(constants, name):8.3f}   prior {ORIN_PRIORS[name].value:g}")
    for judged, title in (
        (judge(samples, constants), "fit, labelled rows"),
        (left_out, "models left out"),
        (judge(unlabelled, constants), "rows without a mode, as 7 W"),
    ):
        print(f"jetson-orin-nano, {title}: MAPE {mape(judged):.1%}, n {len(judged)}")
    return fit, records


if __name__ == "__main__":
    main()
