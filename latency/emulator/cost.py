"""Time of one kernel on the GPU, launches left aside."""

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import FITTED_MHZ, Board
from nuwa_search.latency.emulator.constants import Constants
from nuwa_search.latency.emulator.conv import conv_ms
from nuwa_search.latency.emulator.gemm import GEMV_ROWS, attention_ms, gemm_ms
from nuwa_search.latency.emulator.kernels import AttentionWork, ConvWork, Kernel, MatmulWork, StreamWork
from nuwa_search.latency.emulator.memory import stream_ms, transfer_ms

# Bytes of an element that is not in 8-bit integers: an INT8 engine computes the rest in FP16.
ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 2}


def kernel_ms(kernel: Kernel, *, board: Board, precision: Precision, constants: Constants) -> float:
    """Time one kernel: its fixed cost, and the slower of arithmetic and memory traffic.

    Args:
        kernel: Kernel with the size of its work.
        board: Board that it runs on.
        precision: Precision of the engine; it decides the bytes of an element.
        constants: Fitted constants.
    """
    element_bytes = ELEMENT_BYTES[precision]
    work = kernel.work
    fixed = constants.kernel_us / 1e3 * FITTED_MHZ[board.constants] / (board.clock_mhz * board.core_gain)
    moved_bytes = (work.reads + work.writes) * element_bytes - work.int8_moved * (element_bytes - 1)
    if isinstance(work, StreamWork):
        return fixed + stream_ms(
            work, num_bytes=moved_bytes, board=board, constants=constants, slowdown=_slowdown(kernel, constants)
        )
    weight_bytes = 0.0
    if isinstance(work, ConvWork | MatmulWork):
        spread = constants.gemv_share if is_gemv(work) else 1.0
        weight_bytes = work.num_weights * (1 if work.is_int8 else element_bytes) / spread
    moved = transfer_ms(moved_bytes, weight_bytes=weight_bytes, board=board, constants=constants)
    return fixed + max(_computed_ms(work, board=board, precision=precision, constants=constants), moved)


def _computed_ms(
    work: ConvWork | MatmulWork | AttentionWork, *, board: Board, precision: Precision, constants: Constants
) -> float:
    around: Precision = "fp32" if precision == "fp32" else "fp16"
    if isinstance(work, AttentionWork):
        return attention_ms(work, macs_per_ms=board.product_macs_per_ms(around), board=board, constants=constants)
    operands: Precision = "int8" if work.is_int8 else around
    macs_per_ms = board.product_macs_per_ms(operands)
    if isinstance(work, ConvWork):
        has_winograd = operands not in board.tensor_macs
        return conv_ms(work, macs_per_ms=macs_per_ms, has_winograd=has_winograd, board=board, constants=constants)
    return gemm_ms(
        work.m,
        work.n,
        work.k,
        batch=work.batch,
        share=constants.matmul_share,
        macs_per_ms=macs_per_ms,
        board=board,
        constants=constants,
    )


def is_gemv(work: ConvWork | MatmulWork) -> bool:
    """Return whether so few rows meet the weights that each is read for one product only."""
    rows = work.batch * work.height * work.width if isinstance(work, ConvWork) else work.m
    return rows <= GEMV_ROWS


def _slowdown(kernel: Kernel, constants: Constants) -> float:
    match kernel.kind:
        case "reduce" | "softmax":
            return constants.reduce_slowdown
        case "shuffle":
            return constants.shuffle_slowdown
        case _:
            return 1.0
