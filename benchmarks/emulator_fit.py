"""Fit the emulator's constants to published latencies, robustly and with physical priors."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import kendalltau

from benchmarks.emulator_graphs import Row, graph_of, quantised
from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import BOARDS, Board
from nuwa_search.latency.emulator.constants import CONSTANT_NAMES, Constants, Prior, constants_from_mapping
from nuwa_search.latency.emulator.fusion import kernels_from_graph
from nuwa_search.latency.emulator.fusion_rules import PLAIN_RULES, FusionRules
from nuwa_search.latency.emulator.graph import Graph, graph_from_model
from nuwa_search.latency.emulator.kernels import Kernel
from nuwa_search.latency.emulator.precision import fusion_rules
from nuwa_search.latency.emulator.timeline import Timeline, copied_elements, timeline_from_kernels

# Nominal coverage of the board interval.
COVERAGE = 0.9

# One ONNX file timed on boards that nothing is fitted to, FP16, ms, power mode not stated (netspresso-trainer's
# device matrix).
OTHER_BOARDS: Mapping[str, Mapping[str, float]] = {
    "jetson-tx2": {"resnet18": 4.19, "resnet50": 11.02, "mobilenetv3_small_100": 3.65, "mixnet_s": 10.66},
    "jetson-xavier-nx": {"resnet18": 1.78, "resnet50": 4.17, "mobilenetv3_small_100": 1.25, "mixnet_s": 5.13},
}
OTHER_SOURCE = "github.com/Nota-NetsPresso/netspresso-trainer docs/benchmarks/device_matrix/tensorrt.md"

# Two authors who time one model on this board differ by 5 %, and the model form adds its own error: what
# one standard deviation of a residual is taken to be, so that priors weigh in the right measure.
RESIDUAL_SD = 0.10

# A row whose source leaves precision or resolution open, as measured.csv notes, counts this much in the fit
# (not in the judging).
DOUBTFUL_WEIGHT = 0.5
DOUBTFUL_NOTES = ("second-hand", "assumed")

# Physical starting values of the Nano. Shares of peak: trtexec logs of plain convolutional nets reach 55-83 %.
# Bandwidth: 15.7-20.5 of 25.6 GB/s. Launch: 40-54 µs per layer. Slowdowns and cycles per instruction: an
# ideal kernel has 1, generated ones rarely stay below 1.5.
NANO_PRIORS: Mapping[str, Prior] = {
    "conv_share": Prior(0.80, 1.15, 0.5, 0.98),
    "winograd_share": Prior(0.65, 1.25, 0.3, 0.98),
    "matmul_share": Prior(0.50, 1.15, 0.1, 0.95),
    "grouped_share": Prior(0.6, 1.4, 0.05, 1.0),
    "depthwise_share": Prior(0.15, 1.6, 0.02, 0.6),
    "depthwise_overhead": Prior(12.0, 1.6, 2.0, 60.0),
    "gemv_share": Prior(0.7, 1.3, 0.3, 1.0),
    "fill_steps": Prior(32.0, 1.6, 8.0, 128.0),
    "dram_share": Prior(0.70, 1.08, 0.61, 0.80),
    "pointwise_issue": Prior(2.0, 1.6, 1.0, 10.0),
    "reduce_slowdown": Prior(2.0, 1.8, 1.0, 20.0),
    "shuffle_slowdown": Prior(2.0, 1.8, 1.0, 10.0),
    "kernel_us": Prior(8.0, 1.6, 3.0, 40.0),
    "launch_us": Prior(45.0, 1.15, 34.0, 58.0),
}

# The same of the Orin Nano. Only these six move: its rows hold convolutions, products and a few streams. Share of
# the tensor cores' peak: products of CUTLASS on Ampere reach 60-80 % at large sizes, which no layer of a
# small net has. A tile's prologue is worth more steps, as a step takes an eighth of the time.
_AMPERE_FITTED: Mapping[str, Prior] = {
    "conv_share": Prior(0.55, 1.3, 0.2, 0.9),
    "matmul_share": Prior(0.55, 1.3, 0.2, 0.9),
    "fill_steps": Prior(96.0, 1.6, 16.0, 384.0),
    "dram_share": Prior(0.75, 1.08, 0.61, 0.85),
    "kernel_us": Prior(5.0, 1.6, 2.0, 20.0),
}
# The others have no row that could move them and stay at the Nano's priors (not at its fitted values, which hold
# what is Maxwell's own); launches of a CPU five times as fast take 6 µs.
_AMPERE_FIXED = {"launch_us": 6.0}
ORIN_PRIORS: Mapping[str, Prior] = {
    name: _AMPERE_FITTED.get(name) or Prior(_AMPERE_FIXED.get(name, prior.value), 1.0, 0.0, math.inf)
    for name, prior in NANO_PRIORS.items()
}


def fitted_names(priors: Mapping[str, Prior]) -> tuple[str, ...]:
    """List the constants that move."""
    return tuple(name for name in CONSTANT_NAMES if priors[name].factor > 1.0)


@dataclass(frozen=True)
class Sample:
    """All rows of one model, image size, batch, precision and board, as one target."""

    timm_name: str
    img_size: int
    batch: int
    family: str
    board: Board
    precision: Precision
    measured_ms: float
    weight: float
    is_doubtful: bool
    has_transfers: bool
    rows: tuple[Row, ...]


@cache
def _graph(timm_name: str, img_size: int, batch: int, is_int8: bool) -> Graph:
    model = graph_of(timm_name, img_size=img_size, batch=batch)
    return graph_from_model(quantised(model) if is_int8 else model)


@cache
def launches(
    timm_name: str, img_size: int, *, batch: int = 1, is_int8: bool = False, rules: FusionRules = PLAIN_RULES
) -> tuple[tuple[Kernel, ...], tuple[int, ...]]:
    """List the kernels of a model and the elements that are copied around them."""
    graph = _graph(timm_name, img_size, batch, is_int8)
    return kernels_from_graph(graph, rules), copied_elements(graph)


def samples_from_rows(rows: Sequence[Row]) -> list[Sample]:
    """Pool rows: one target per model, size, batch, precision and board; every model weighs the same in the end."""
    groups: dict[tuple[str, int, int, Precision, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.timm_name, row.img_size, row.batch, row.precision, row.board), []).append(row)
    per_model = Counter((name, precision) for name, _, _, precision, _ in groups)
    return [
        Sample(
            timm_name=name,
            img_size=size,
            batch=batch,
            family=members[0].family,
            board=BOARDS[board],
            precision=precision,
            measured_ms=math.exp(float(np.mean([math.log(r.latency_ms) for r in members]))),
            weight=1.0 / per_model[name, precision],
            is_doubtful=any(note in r.source for r in members for note in DOUBTFUL_NOTES),
            has_transfers=all("transfer included" in r.source for r in members),
            rows=tuple(members),
        )
        for (name, size, batch, precision, board), members in groups.items()
    ]


def other_board_samples(board: str) -> list[Sample]:
    """List what was timed on a board that nothing is fitted to."""
    rows = [
        Row(board, board, False, name, name, 224, 1, "fp16", ms, OTHER_SOURCE)
        for name, ms in OTHER_BOARDS[board].items()
    ]
    return samples_from_rows(rows)


def timeline_of(sample: Sample, constants: Constants, *, board: Board | None = None) -> Timeline:
    """Emulate what a row measured, on its own board or another."""
    where = board or sample.board
    rules = fusion_rules(where, sample.precision)
    is_int8 = sample.precision == "int8"
    kernels, copied = launches(sample.timm_name, sample.img_size, batch=sample.batch, is_int8=is_int8, rules=rules)
    return timeline_from_kernels(
        kernels,
        where,
        precision=sample.precision,
        constants=constants,
        copied_elements=copied if sample.has_transfers else (),
    )


@dataclass(frozen=True)
class Judged:
    """A sample beside what the emulator said of it."""

    sample: Sample
    emulated_ms: float

    @property
    def error(self) -> float:
        """Relative error, positive where the emulator is too slow."""
        return self.emulated_ms / self.sample.measured_ms - 1

    @property
    def log_ratio(self) -> float:
        """Logarithm of measured over emulated."""
        return math.log(self.sample.measured_ms / self.emulated_ms)


def judge(samples: Sequence[Sample], constants: Constants) -> list[Judged]:
    """Emulate every sample with ``constants``."""
    return [Judged(sample=s, emulated_ms=timeline_of(s, constants).total_ms) for s in samples]


def leave_out(samples: Sequence[Sample], priors: Mapping[str, Prior], *, key: Callable[[Sample], str]) -> list[Judged]:
    """Judge every family, or whatever ``key`` names, with constants fitted to the others only."""
    judged: list[Judged] = []
    for left in sorted({key(s) for s in samples}):
        constants = fit_constants([s for s in samples if key(s) != left], priors)
        judged += judge([s for s in samples if key(s) == left], constants)
    return judged


def leave_families_out(samples: Sequence[Sample], priors: Mapping[str, Prior]) -> list[Judged]:
    """Judge every family with constants fitted to the other families only."""
    return leave_out(samples, priors, key=lambda s: s.family)


def leave_models_out(samples: Sequence[Sample], priors: Mapping[str, Prior]) -> list[Judged]:
    """Judge every model, in all its precisions, batches and power modes, with constants fitted to the others."""
    return leave_out(samples, priors, key=lambda s: s.timm_name)


def of_precision(judged: Sequence[Judged], precision: Precision) -> list[Judged]:
    """Keep the samples of one precision."""
    return [j for j in judged if j.sample.precision == precision]


def mape(judged: Sequence[Judged]) -> float:
    """Mean absolute relative error; sizes of one model share that model's weight."""
    weights = [j.sample.weight for j in judged]
    return float(np.average([abs(j.error) for j in judged], weights=weights))


def kendall_tau(judged: Sequence[Judged]) -> float:
    """Rank agreement of emulated with measured latencies."""
    tau = kendalltau([j.sample.measured_ms for j in judged], [j.emulated_ms for j in judged]).statistic
    return float(tau)


def conformal_halfwidth(judged: Sequence[Judged], *, per_row: bool = False) -> float:
    """Turn left-out errors into the half-width of an interval in the logarithm.

    The split-conformal quantile of |log(measured / emulated)|, one score per model: the smallest
    score that at least ``COVERAGE`` · (n + 1) of n scores do not exceed (Lei et al., "Distribution-Free
    Predictive Inference for Regression", arXiv 1604.04173).

    Args:
        judged: Rows that the fit never saw.
        per_row: Whether every row is a score of its own, where models are few.
    """
    scores: dict[tuple[object, ...], list[float]] = {}
    for j in judged:
        key = (j.sample.timm_name, *((j.sample.board, j.sample.batch, j.sample.precision) if per_row else ()))
        scores.setdefault(tuple(map(str, key)), []).append(abs(j.log_ratio))
    ordered = sorted(float(np.mean(s)) for s in scores.values())
    rank = min(math.ceil(COVERAGE * (len(ordered) + 1)), len(ordered))
    return ordered[rank - 1]


def fit_constants(samples: Sequence[Sample], priors: Mapping[str, Prior]) -> Constants:
    """Fit every constant that moves: least squares on log ratios, soft L1 loss, priors in log space."""
    names = fitted_names(priors)
    fixed = {name: prior.value for name, prior in priors.items()}
    centre = np.log([priors[n].value for n in names])
    spread = np.log([priors[n].factor for n in names])
    low = np.log([priors[n].low for n in names])
    high = np.log([priors[n].high for n in names])

    def constants(x: NDArray[np.float64]) -> Constants:
        return constants_from_mapping(fixed | dict(zip(names, np.exp(x), strict=True)))

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        guess = constants(x)
        errors = [
            math.sqrt(s.weight * (DOUBTFUL_WEIGHT if s.is_doubtful else 1.0))
            * math.log(timeline_of(s, guess).total_ms / s.measured_ms)
            / RESIDUAL_SD
            for s in samples
        ]
        return np.concatenate([errors, (x - centre) / spread])

    answer = least_squares(
        residuals, centre, bounds=(low, high), loss="soft_l1", f_scale=1.5, diff_step=[1e-3] * len(names), max_nfev=40
    )
    return constants(answer.x)
