"""The noise-free latency of a graph on a board, kernel by kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from nuwa_search.core.device import KernelTime, Precision
from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Constants, load_calibration
from nuwa_search.latency.emulator.cost import kernel_ms
from nuwa_search.latency.emulator.fusion import kernels_from_graph
from nuwa_search.latency.emulator.graph import Graph, graph_from_model
from nuwa_search.latency.emulator.kernels import Kernel
from nuwa_search.latency.emulator.precision import check_precision, fusion_rules

# Host to device and back as seen in trtexec logs of the Nano: 0.06 ms for a 3×224×224 FP32 image, which
# is 10 GB/s with the call's own 10 µs or so taken off.
COPY_GBPS = 12.0
COPY_CALL_MS = 0.01


@dataclass(frozen=True)
class Timeline:
    """Latency of one inference, split over its kernels.

    Args:
        kernels: One entry per launch in order; their times add up to ``total_ms``.
        total_ms: Latency from the first launch to the end of the last kernel.
        num_launch_bound: Launches for which the GPU had to wait.
    """

    kernels: tuple[KernelTime, ...]
    total_ms: float
    num_launch_bound: int


def emulate(
    model: onnx.ModelProto,
    board: Board,
    *,
    precision: Precision,
    constants: Constants | None = None,
    transfers: bool = False,
) -> Timeline:
    """Time ``model`` on ``board`` without noise, from its graph alone.

    Args:
        model: Any ONNX graph with static shapes; its weights are not read.
        board: Board in one power mode.
        precision: Precision that the engine is built with.
        constants: Fitted constants; None takes those that are shipped.
        transfers: Whether copies of inputs and outputs are part of the latency.

    Raises:
        NuwaError: If the graph has dynamic shapes or foreign operators, or the board cannot run
            ``precision``.
    """
    graph = graph_from_model(model)
    check_precision(graph, board, precision)
    return timeline_from_kernels(
        kernels_from_graph(graph, fusion_rules(board, precision)),
        board,
        precision=precision,
        constants=constants or load_calibration().constants_of(board),
        copied_elements=copied_elements(graph) if transfers else (),
    )


def copied_elements(graph: Graph) -> tuple[int, ...]:
    """Elements of each tensor that is copied to or from the device."""
    return tuple(graph.elements(name) for name in (*graph.inputs, *graph.outputs))


def timeline_from_kernels(
    kernels: Sequence[Kernel],
    board: Board,
    *,
    precision: Precision,
    constants: Constants,
    copied_elements: Sequence[int] = (),
    cuda_graph: bool = False,
) -> Timeline:
    """Run the launches through a queue: a kernel starts when it is enqueued and the one before is done.

    The sum of kernel times and the sum of launches are both lower bounds of the answer, and it is
    never slower than either by more than one kernel: the law that trtexec logs of the board follow.

    Args:
        kernels: Launches in order.
        board: Board in one power mode.
        precision: Precision that the engine is built with.
        constants: Fitted constants.
        copied_elements: FP32 elements of every tensor copied to or from the device.
        cuda_graph: Whether one call launches all kernels, so that none waits for the CPU.

    """
    launch_ms = constants.launch_us / 1e3 * board.launch_scale
    times: list[KernelTime] = []
    now = enqueued = 0.0
    num_launch_bound = 0
    for kernel in kernels:
        enqueued = launch_ms if cuda_graph else enqueued + launch_ms
        num_launch_bound += enqueued > now
        spent = kernel_ms(kernel, board=board, precision=precision, constants=constants)
        end = max(now, enqueued) + spent
        times.append(KernelTime(name=kernel.name, kind=kernel.kind, ms=end - now))
        now = end
    copies = (COPY_CALL_MS + count * 4 / (COPY_GBPS * 1e6) for count in copied_elements)
    times.extend(KernelTime(name="transfer", kind="transfer", ms=ms) for ms in copies)
    return Timeline(kernels=tuple(times), total_ms=sum(t.ms for t in times), num_launch_bound=num_launch_bound)
