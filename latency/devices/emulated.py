"""Emulated boards behind the device protocol: the time model plus the noise of a real measurement."""

import dataclasses
import hashlib
import math
from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray

from nuwa_search.core.device import PROTOCOL, DeviceSpec, KernelTime, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.stats import stats_from_samples
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision
from nuwa_search.latency.devices.board_memory import board_need, check_room
from nuwa_search.latency.emulator.boards import BOARDS, Board
from nuwa_search.latency.emulator.constants import load_calibration
from nuwa_search.latency.emulator.cost import ELEMENT_BYTES
from nuwa_search.latency.emulator.graph import Graph
from nuwa_search.latency.emulator.interval import extrapolation_warnings, log_halfwidth
from nuwa_search.latency.emulator.kernels import Kernel
from nuwa_search.latency.emulator.operator_kinds import has_quantisers
from nuwa_search.latency.emulator.precision import check_precision, fusion_rules
from nuwa_search.latency.emulator.reading import read_model
from nuwa_search.latency.emulator.timeline import Timeline, copied_elements, timeline_from_kernels

# Two sessions on one board, and two measurements in one session, differ by this much (standard
# deviation of the median, relative): what trtexec shows on a Jetson with pinned clocks.
SESSION_NOISE = 0.005
MEASUREMENT_NOISE = 0.005
# Spread of single inferences around their median with pinned clocks: skewed to the slow side, p99 about
# 1 % above the median, as in trtexec logs of the board (shape and scale of a gamma distribution).
JITTER_SHAPE = 2.0
JITTER_SCALE = 0.002
# Emulated inferences are free, but nobody needs more samples than this from one measurement.
MAX_SAMPLES = 1000


class EmulatedDevice:
    """A board that is not there: the time model seen through a measurement.

    The session's error is drawn once per instance from ``seed``. A measurement's error depends on
    the seed, on what is launched, and on how often it was measured before on this instance, so a
    repeated run of a program gives the same figures in whatever order the models come.

    Args:
        spec: What to emulate; its name, or the option ``board``, names a board.
        seed: Seed of all noise.
    """

    def __init__(self, spec: DeviceSpec, *, seed: int = 0) -> None:
        self._spec = spec
        self._seed = seed
        self._times_measured: Counter[str] = Counter()

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    @property
    def board(self) -> Board:
        """Look up the board behind the spec.

        Raises:
            NuwaError: If no emulated board has that name.
        """
        name = dict(self._spec.options).get("board", self._spec.name)
        if name not in BOARDS:
            raise NuwaError(f"no emulated board is called {name!r}", hint=f"known boards: {', '.join(BOARDS)}")
        return BOARDS[name]

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Time ``model`` as ``trtexec`` on the board would, noise included.

        Raises:
            NuwaError: If the board or the time model cannot take the model; the message says why.
        """
        protocol = protocol or PROTOCOL
        board = self.board
        read = read_model(
            model, check=self._check_graph, checked_for=f"{self._spec.runtime_version} {self._spec.precision}"
        )
        graph = read.graph
        spec = self._spec_for(graph, board)
        check_precision(graph, board, spec.precision)
        self._check_batch(graph)
        kernels = read.kernels(fusion_rules(board, spec.precision))
        calibration = load_calibration()
        peak_memory_mb = self._peak_memory_mb(graph, kernels, board)
        timeline = timeline_from_kernels(
            kernels,
            board,
            precision=spec.precision,
            constants=calibration.constants_of(board),
            copied_elements=copied_elements(graph) if protocol.transfers else (),
            cuda_graph=protocol.cuda_graph,
        )
        samples = self._samples(timeline.total_ms, kernels, protocol, spec)
        stats = stats_from_samples(samples)
        return Measurement(
            device=spec,
            protocol=dataclasses.replace(protocol, clocks_pinned=True),
            provenance="emulated",
            latency_ms=stats,
            samples=len(samples),
            breakdown=_scaled_breakdown(timeline, stats.median),
            board_interval_ms=_board_interval(stats.median, log_halfwidth(timeline, board, calibration)),
            peak_memory_mb=peak_memory_mb,
            state={"gpu_clock_mhz": f"{board.clock_mhz:g}", "launch_bound_kernels": str(timeline.num_launch_bound)},
            warnings=(
                *read.warnings,
                *self._precision_warnings(spec),
                *extrapolation_warnings(timeline, board, calibration),
            ),
        )

    def _spec_for(self, graph: Graph, board: Board) -> DeviceSpec:
        """Spec that the model is built for: Q/DQ nodes ask for INT8 with FP16 around it, whatever flag is given."""
        if self._spec.precision == "fp16" and board.has_int8 and has_quantisers(graph):
            return dataclasses.replace(self._spec, precision="int8")
        return self._spec

    def _check_graph(self, model: onnx.ModelProto) -> tuple[str, ...]:
        """Refuse what the board's own parser would."""
        version = self._spec.runtime_version
        warnings = check_operators(model, version=version)
        if self._spec.precision == "fp32":  # what the others make of quantised graphs, the time model says itself
            check_typed_precision(model, precision="fp32", version=version)
        return warnings

    def _check_batch(self, graph: Graph) -> None:
        for name in graph.inputs:
            shape = graph.shapes[name]
            if shape and shape[0] != self._spec.batch:
                raise NuwaError(
                    f"{self._spec.name} runs batch {self._spec.batch}, and input {name!r} of the model is {shape}",
                    hint=f"export the model with batch {self._spec.batch}",
                )

    def _peak_memory_mb(self, graph: Graph, kernels: tuple[Kernel, ...], board: Board) -> float:
        """Estimate what the model adds: weights, and the largest activations alive around one kernel.

        Raises:
            NuwaError: If building or running it needs more than the board has free.
        """
        element_bytes = ELEMENT_BYTES[self._spec.precision]
        largest = max((k.work.reads + k.work.writes for k in kernels), default=0)
        need = board_need(
            graph.num_weights, activations=2 * largest, element_bytes=element_bytes, context_mb=board.context_mb
        )
        check_room(need, name=self._spec.name, memory_mb=board.memory_mb)
        return need.engine_mb

    def _samples(
        self, total_ms: float, kernels: tuple[Kernel, ...], protocol: MeasureProtocol, spec: DeviceSpec
    ) -> NDArray[np.float64]:
        content = hashlib.sha256(repr([k.work for k in kernels]).encode()).hexdigest()
        identity = f"{spec.device_id}/{self._seed}"
        session = _rng(identity).standard_normal()
        rng = _rng(f"{identity}/{content}/{self._times_measured[content]}")
        self._times_measured[content] += 1
        median = total_ms * math.exp(SESSION_NOISE * session + MEASUREMENT_NOISE * rng.standard_normal())
        wanted = max(protocol.min_repetitions, math.ceil(protocol.min_duration_ms / median))
        jitter = rng.gamma(JITTER_SHAPE, JITTER_SCALE, size=min(wanted, MAX_SAMPLES))
        return median * (1.0 + jitter - float(np.median(jitter)))

    def _precision_warnings(self, spec: DeviceSpec) -> tuple[str, ...]:
        if spec.precision == self._spec.precision:
            return ()
        return (
            f"the graph holds QuantizeLinear nodes: timed as INT8 with {self._spec.precision.upper()} around it, "
            "as trtexec --int8 --fp16 builds it",
        )


def _rng(identity: str) -> np.random.Generator:
    digest = hashlib.sha256(identity.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _scaled_breakdown(timeline: Timeline, median_ms: float) -> tuple[KernelTime, ...]:
    scale = median_ms / timeline.total_ms
    return tuple(dataclasses.replace(k, ms=k.ms * scale) for k in timeline.kernels)


def _board_interval(median_ms: float, halfwidth: float) -> tuple[float, float]:
    return median_ms * math.exp(-halfwidth), median_ms * math.exp(halfwidth)
