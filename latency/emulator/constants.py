"""The fitted constants of the time model: what each means, where fitting may move it, its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from nuwa_search.latency.emulator.boards import FITTED_MHZ, Board, Fitted
from nuwa_search.latency.emulator.kernels import KERNEL_GROUPS, KernelGroup

CALIBRATION_PATH = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Constants:
    """Every constant that is fitted to measurements; there are no others.

    Args:
        conv_share: Share of the peak that the inner loop of an implicit-GEMM convolution reaches.
        winograd_share: The same for the products of Winograd F(2×2, 3×3).
        matmul_share: The same for matrix products.
        grouped_share: The same for grouped convolutions, relative to ``conv_share``.
        depthwise_share: Share of the FP32 peak that depthwise convolutions reach, FP16 or not.
        depthwise_overhead: Filter taps that loads, stores and format changes of one output are worth there.
        gemv_share: Share of the reachable bandwidth at which matrix-vector products read their weights.
        fill_steps: Steps of the k loop that a tile's prologue and epilogue are worth.
        dram_share: Share of the data sheet's bandwidth that streaming kernels reach.
        pointwise_issue: Clock cycles per scalar instruction of generated kernels and core.
        reduce_slowdown: Time of a reduction or softmax over a plain stream of the same bytes.
        shuffle_slowdown: The same for transposes, slices and copies.
        kernel_us: Time of an empty kernel on the GPU, gap to the next included, in microseconds.
        launch_us: CPU time to enqueue one kernel, in microseconds.
    """

    conv_share: float
    winograd_share: float
    matmul_share: float
    grouped_share: float
    depthwise_share: float
    depthwise_overhead: float
    gemv_share: float
    fill_steps: float
    dram_share: float
    pointwise_issue: float
    reduce_slowdown: float
    shuffle_slowdown: float
    kernel_us: float
    launch_us: float


@dataclass(frozen=True)
class Prior:
    """Where a constant starts: a physical value, and the factor that one standard deviation is worth."""

    value: float
    factor: float
    low: float
    high: float


CONSTANT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Constants))


@dataclass(frozen=True)
class Fit:
    """What the calibration script found for one architecture.

    Args:
        constants: Fitted on every row with a known power mode.
        log_halfwidth: Half-width of the board interval in the logarithm of the latency, from rows whose model
            was left out of the fit.
        coverage: Nominal coverage of that interval.
        num_left_out: Families or models that it rests on.
        seen_shares: Per kernel group, the largest share of the time in any row fitted.
        extrapolated: Per kernel group, the half-width where more of the time than that is in the group: how far
            predictions were off for rows rich in it when none such was fitted.
    """

    constants: Constants
    log_halfwidth: float
    coverage: float
    num_left_out: int
    seen_shares: Mapping[KernelGroup, float]
    extrapolated: Mapping[KernelGroup, float]


@dataclass(frozen=True)
class Calibration:
    """What the calibration script stored.

    Args:
        fits: By architecture.
        carried: Per kernel group, the half-width where constants of one architecture stand for another: how far
            the Nano's were off on the Orin Nano.
        checked_shares: For each board whose constants are carried, per kernel group, the largest share of the time
            in any row that it was held against.
    """

    fits: Mapping[Fitted, Fit]
    carried: Mapping[KernelGroup, float]
    checked_shares: Mapping[str, Mapping[KernelGroup, float]]

    def seen_shares(self, board: Board) -> Mapping[KernelGroup, float]:
        """Look up the largest share of each kernel group in any row of the board."""
        return self.checked_shares[board.name] if board.is_carried else self.fits[board.constants].seen_shares

    def constants_of(self, board: Board) -> Constants:
        """Look up the constants that a board uses."""
        return self.fits[board.constants].constants


def calibration_json(calibration: Calibration) -> str:
    """Render for ``calibration.json``."""
    return json.dumps(asdict(calibration), indent=2) + "\n"


def constants_from_mapping(values: Mapping[str, float]) -> Constants:
    """Build constants from a mapping that holds each of them."""
    return Constants(**{name: float(values[name]) for name in CONSTANT_NAMES})


@cache
def load_calibration(path: Path = CALIBRATION_PATH) -> Calibration:
    """Read what the calibration script stored beside this module."""
    values = json.loads(path.read_text())
    fits: dict[Fitted, Fit] = {name: _fit_from_mapping(values["fits"][name]) for name in FITTED_MHZ}
    checked = {board: _per_group(shares) for board, shares in values["checked_shares"].items()}
    return Calibration(fits=fits, carried=_per_group(values["carried"]), checked_shares=checked)


def _fit_from_mapping(values: Mapping[str, Any]) -> Fit:
    return Fit(
        constants=constants_from_mapping(values["constants"]),
        log_halfwidth=float(values["log_halfwidth"]),
        coverage=float(values["coverage"]),
        num_left_out=int(values["num_left_out"]),
        seen_shares=_per_group(values["seen_shares"]),
        extrapolated=_per_group(values["extrapolated"]),
    )


def _per_group(values: Mapping[str, float]) -> dict[KernelGroup, float]:
    return {group: float(values[group]) for group in KERNEL_GROUPS}
