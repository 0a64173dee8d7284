"""Time to move bytes: DRAM, the second-level cache, and kernels that do nothing else."""

from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Constants
from nuwa_search.latency.emulator.kernels import StreamWork

# Second-level cache over DRAM bandwidth; Maxwell's caches move 32 bytes per clock and slice (Jia et al.,
# "Dissecting the NVIDIA Volta GPU Architecture via Microbenchmarking", arXiv 1804.06826, Maxwell column).
L2_SPEEDUP = 4.0


def transfer_ms(
    num_bytes: float, *, board: Board, constants: Constants, weight_bytes: float = 0.0, slowdown: float = 1.0
) -> float:
    """Time activations of ``num_bytes`` and weights of ``weight_bytes`` once through the memory system.

    Activations up to the size of the second-level cache were just written and are read from there;
    weights come from DRAM in every inference.

    Args:
        num_bytes: Bytes of activations, read and written.
        board: Board that it runs on.
        constants: Fitted constants.
        weight_bytes: Bytes of weights.
        slowdown: Factor on the time of a plain stream.
    """
    cached = min(num_bytes, board.l2_kb * 1024)
    from_dram = num_bytes - cached + weight_bytes
    bytes_per_ms = board.dram_gbps * constants.dram_share * 1e6
    return slowdown * (from_dram + cached / L2_SPEEDUP) / bytes_per_ms


def stream_ms(
    work: StreamWork, *, num_bytes: float, board: Board, constants: Constants, slowdown: float = 1.0
) -> float:
    """Time a kernel that streams ``num_bytes``: whichever of memory and instruction issue is slower.

    Args:
        work: Scalar instructions of the kernel.
        num_bytes: Bytes read and written.
        board: Board that it runs on.
        constants: Fitted constants.
        slowdown: Factor on the memory time of a plain stream.
    """
    moved = transfer_ms(num_bytes, board=board, constants=constants, slowdown=slowdown)
    issued = work.instructions * constants.pointwise_issue / board.instructions_per_ms
    return max(moved, issued)
