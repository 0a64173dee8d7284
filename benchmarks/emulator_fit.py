"""Fit the emulator's constants to published latencies, robustly and with physical priors."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from emulator_graphs import Row, graph_of
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import kendalltau

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import JETSON_NANO
from nuwa_search.latency.emulator.constants import CONSTANT_NAMES, Constants, Prior, constants_from_mapping
from nuwa_search.latency.emulator.fusion import kernels_from_graph
from nuwa_search.latency.emulator.graph import graph_from_model
from nuwa_search.latency.emulator.kernels import Kernel
from nuwa_search.latency.emulator.timeline import Timeline, copied_elements, timeline_from_kernels

# Two authors who time one model on this board differ by 5 %, and the model form adds its own error: what
# one standard deviation of a residual is taken to be, so that priors weigh in the right measure.
RESIDUAL_SD = 0.10

# A row whose source leaves precision or resolution open, as measured.csv notes, counts this much in the fit
# (not in the judging).
DOUBTFUL_WEIGHT = 0.5
DOUBTFUL_NOTES = ("second-hand", "assumed")

# Physical starting values. Shares of peak: trtexec logs of plain convolutional nets reach 55-83 %.
# Bandwidth: 15.7-20.5 of 25.6 GB/s. Launch: 40-54 µs per layer. Slowdowns and cycles per instruction: an
# ideal kernel has 1, generated ones rarely stay below 1.5.
PRIORS: Mapping[str, Prior] = {
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


@dataclass(frozen=True)
class Sample:
    """All rows of one model, image size and precision, as one target."""

    timm_name: str
    img_size: int
    family: str
    precision: Precision
    measured_ms: float
    weight: float
    is_doubtful: bool
    has_transfers: bool
    rows: tuple[Row, ...]


@cache
def launches(timm_name: str, img_size: int) -> tuple[tuple[Kernel, ...], tuple[int, ...]]:
    """List the kernels of a model and the elements that are copied around them."""
    graph = graph_from_model(graph_of(timm_name, img_size=img_size))
    return kernels_from_graph(graph), copied_elements(graph)


def samples_from_rows(rows: Sequence[Row]) -> list[Sample]:
    """Pool rows: one target per model, size and precision; every model weighs the same in the end."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.timm_name, row.img_size, row.precision), []).append(row)
    per_model = Counter((name, precision) for name, _, precision in groups)
    return [
        Sample(
            timm_name=name,
            img_size=size,
            family=members[0].family,
            precision="fp16" if precision == "fp16" else "fp32",
            measured_ms=math.exp(float(np.mean([math.log(r.latency_ms) for r in members]))),
            weight=1.0 / per_model[name, precision],
            is_doubtful=any(note in r.source for r in members for note in DOUBTFUL_NOTES),
            has_transfers=all("transfer included" in r.source for r in members),
            rows=tuple(members),
        )
        for (name, size, precision), members in groups.items()
    ]


def timeline_of(sample: Sample, constants: Constants) -> Timeline:
    """Emulate what a row measured."""
    kernels, copied = launches(sample.timm_name, sample.img_size)
    return timeline_from_kernels(
        kernels,
        JETSON_NANO,
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


def leave_families_out(samples: Sequence[Sample]) -> list[Judged]:
    """Judge every family with constants fitted to the other families only."""
    judged: list[Judged] = []
    for family in sorted({s.family for s in samples}):
        constants = fit_constants([s for s in samples if s.family != family])
        judged += judge([s for s in samples if s.family == family], constants)
    return judged


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


def conformal_factors(judged: Sequence[Judged], *, coverage: float) -> tuple[float, float]:
    """Turn left-out errors into factors around an emulated latency.

    The split-conformal quantile of |log(measured / emulated)|, one score per model: the smallest
    score that at least ``coverage`` · (n + 1) of n scores do not exceed (Lei et al., "Distribution-Free
    Predictive Inference for Regression", arXiv 1604.04173). Symmetric in the logarithm.
    """
    scores: dict[str, list[float]] = {}
    for j in judged:
        scores.setdefault(j.sample.timm_name, []).append(abs(j.log_ratio))
    ordered = sorted(float(np.mean(s)) for s in scores.values())
    rank = min(math.ceil(coverage * (len(ordered) + 1)), len(ordered))
    quantile = ordered[rank - 1]
    return math.exp(-quantile), math.exp(quantile)


def fit_constants(samples: Sequence[Sample]) -> Constants:
    """Fit every constant: least squares on log ratios, soft L1 loss, priors in log space."""
    names = CONSTANT_NAMES
    centre = np.log([PRIORS[n].value for n in names])
    spread = np.log([PRIORS[n].factor for n in names])
    low = np.log([PRIORS[n].low for n in names])
    high = np.log([PRIORS[n].high for n in names])

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = constants_from_mapping(dict(zip(names, np.exp(x), strict=True)))
        errors = [
            math.sqrt(s.weight * (DOUBTFUL_WEIGHT if s.is_doubtful else 1.0))
            * math.log(timeline_of(s, constants).total_ms / s.measured_ms)
            / RESIDUAL_SD
            for s in samples
        ]
        return np.concatenate([errors, (x - centre) / spread])

    answer = least_squares(
        residuals, centre, bounds=(low, high), loss="soft_l1", f_scale=1.5, diff_step=[1e-3] * len(names), max_nfev=40
    )
    return constants_from_mapping(dict(zip(names, np.exp(answer.x), strict=True)))
