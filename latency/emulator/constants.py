"""The fitted constants of the time model: what each means, where fitting may move it, its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

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
class Calibration:
    """What the calibration script stored.

    Args:
        constants: Fitted on every row.
        interval_factors: Lower and upper factor on an emulated latency within which the board was found,
            from families left out of the fit.
        coverage: Nominal coverage of that interval.
        num_families: Families that it rests on.
        max_matmul_share: Largest fraction of the latency that matrix products take in any row fitted.
    """

    constants: Constants
    interval_factors: tuple[float, float]
    coverage: float
    num_families: int
    max_matmul_share: float


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
    low, high = values["interval_factors"]
    return Calibration(
        constants=constants_from_mapping(values["constants"]),
        interval_factors=(float(low), float(high)),
        coverage=float(values["coverage"]),
        num_families=int(values["num_families"]),
        max_matmul_share=float(values["max_matmul_share"]),
    )
