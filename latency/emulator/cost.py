"""Time of one kernel on the GPU, launches left aside."""

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Constants
from nuwa_search.latency.emulator.conv import conv_ms
from nuwa_search.latency.emulator.gemm import GEMV_ROWS, gemm_ms
from nuwa_search.latency.emulator.kernels import ConvWork, Kernel, MatmulWork
from nuwa_search.latency.emulator.memory import stream_ms, transfer_ms

ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2}


def kernel_ms(kernel: Kernel, *, board: Board, precision: Precision, constants: Constants) -> float:
    """Time one kernel: its fixed cost, and the slower of arithmetic and memory traffic."""
    element_bytes = ELEMENT_BYTES[precision]
    fixed = constants.kernel_us / 1e3 * JETSON_NANO_CLOCK_MHZ / (board.clock_mhz * board.core_gain)
    work = kernel.work
    if not isinstance(work, ConvWork | MatmulWork):
        slowdown = _slowdown(kernel, constants)
        return fixed + stream_ms(work, element_bytes=element_bytes, board=board, constants=constants, slowdown=slowdown)
    macs_per_ms = board.fp32_macs_per_ms
    if precision == "fp16":
        macs_per_ms *= board.fp16_ratio * board.tensor_ratio
    if isinstance(work, ConvWork):
        computed = conv_ms(work, macs_per_ms=macs_per_ms, board=board, constants=constants)
    else:
        computed = gemm_ms(
            work.m,
            work.n,
            work.k,
            batch=work.batch,
            share=constants.matmul_share,
            macs_per_ms=macs_per_ms,
            board=board,
            constants=constants,
        )
    weight_bytes = work.num_weights * element_bytes / (constants.gemv_share if is_gemv(work) else 1.0)
    moved = transfer_ms(
        (work.reads + work.writes) * element_bytes,
        weight_bytes=weight_bytes,
        board=board,
        constants=constants,
    )
    return fixed + max(computed, moved)


def is_gemv(work: ConvWork | MatmulWork) -> bool:
    """Say whether so few rows meet the weights that each is read for one product only."""
    rows = work.batch * work.height * work.width if isinstance(work, ConvWork) else work.m
    return rows <= GEMV_ROWS


# The clock at which ``kernel_us`` was fitted.
JETSON_NANO_CLOCK_MHZ = 921.6


def _slowdown(kernel: Kernel, constants: Constants) -> float:
    match kernel.kind:
        case "reduce" | "softmax":
            return constants.reduce_slowdown
        case "shuffle":
            return constants.shuffle_slowdown
        case _:
            return 1.0
