"""Convolutions: implicit GEMM, Winograd, grouped and depthwise."""

import math

from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Constants
from nuwa_search.latency.emulator.gemm import K_STEP, gemm_ms
from nuwa_search.latency.emulator.kernels import ConvWork

# Winograd F(2×2, 3×3) makes 16 products of what are 36 (Lavin and Gray, "Fast Algorithms for
# Convolutional Neural Networks", arXiv 1509.09308).
WINOGRAD_PRODUCTS = 16
# A block of the Maxwell kernel holds 32 tiles × 32 filters (same source, section 5).
WINOGRAD_BLOCK = 32


def conv_ms(
    work: ConvWork, *, macs_per_ms: float, has_winograd: bool = True, board: Board, constants: Constants
) -> float:
    """Time the arithmetic of a convolution with the best of the algorithms that it has.

    Args:
        work: The convolution.
        macs_per_ms: Peak of the whole board.
        has_winograd: Whether there is a Winograd form: tensor cores have none in TensorRT's kernels.
        board: Board that it runs on.
        constants: Fitted constants.
    """
    if work.is_depthwise:
        outputs = work.macs // work.taps
        return (
            outputs
            * (work.taps + constants.depthwise_overhead)
            / (board.instructions_per_ms * constants.depthwise_share)
        )
    share = constants.conv_share * (constants.grouped_share if work.groups > 1 else 1.0)
    direct = gemm_ms(
        work.batch * work.height * work.width,
        work.out_channels // work.groups,
        work.taps * work.in_channels // work.groups,
        batch=work.groups,
        share=share,
        macs_per_ms=macs_per_ms,
        board=board,
        constants=constants,
    )
    if has_winograd and work.groups == 1 and work.unit_stride and (work.kernel_height, work.kernel_width) == (3, 3):
        return min(direct, _winograd_ms(work, macs_per_ms=macs_per_ms, board=board, constants=constants))
    return direct


def _winograd_ms(work: ConvWork, *, macs_per_ms: float, board: Board, constants: Constants) -> float:
    tiles = work.batch * math.ceil(work.height / 2) * math.ceil(work.width / 2)
    blocks = math.ceil(tiles / WINOGRAD_BLOCK) * math.ceil(work.out_channels / WINOGRAD_BLOCK)
    waves = math.ceil(blocks / board.num_sms)
    steps = math.ceil(work.in_channels / K_STEP) * K_STEP + constants.fill_steps
    products = waves * WINOGRAD_PRODUCTS * WINOGRAD_BLOCK**2 * steps
    return products / (macs_per_ms / board.num_sms * constants.winograd_share)
