"""Tiled matrix products: the staircase of tiles and waves."""

import math

from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Constants
from nuwa_search.latency.emulator.kernels import AttentionWork

# Tiles (rows, columns) of the output that Maxwell's FP16 and FP32 products and convolutions come in;
# the sizes stand in the kernels' names (maxwell_fp16x2_hcudnn_128x64_relu, maxwell_scudnn_128x32, ...).
TILES = ((128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (64, 32), (32, 64), (32, 32))
# The k loop is unrolled by 8 in those kernels.
K_STEP = 8
# Operands are read once per tile and step: a tile of r×c does r·c multiply-adds for r + c loads, each
# load worth this many multiply-adds of issue slots (shared-memory bandwidth of Maxwell: 32 lanes per
# clock against 128 multiply-adds).
LOAD_COST = 8.0
# Up to this many rows a product is a matrix-vector product: no tile is padded.
GEMV_ROWS = 4
# Share of the FP32 peak of such a kernel: it is bound by memory long before.
GEMV_SHARE = 0.25


def tile_share(rows: int, columns: int) -> float:
    """Share of issue slots that are multiply-adds in a tile of ``rows`` × ``columns``."""
    products = rows * columns
    return products / (products + LOAD_COST * (rows + columns))


def gemm_ms(
    m: int, n: int, k: int, *, batch: int, share: float, macs_per_ms: float, board: Board, constants: Constants
) -> float:
    """Time ``batch`` products (m, k) × (k, n) with the best tile.

    Args:
        m: Rows of the output.
        n: Columns of the output.
        k: Length of the sums.
        batch: Products of this size in one launch.
        share: Share of the peak that the inner loop reaches.
        macs_per_ms: Peak of the whole board.
        board: Board that it runs on.
        constants: Fitted constants.
    """
    if m <= GEMV_ROWS:
        return batch * m * n * k / (board.fp32_macs_per_ms * GEMV_SHARE)
    steps = math.ceil(k / K_STEP) * K_STEP + constants.fill_steps
    per_sm = macs_per_ms / board.num_sms * share
    best = math.inf
    for rows, columns in TILES:
        waves = math.ceil(batch * math.ceil(m / rows) * math.ceil(n / columns) / board.num_sms)
        best = min(best, waves * rows * columns * steps / (per_sm * tile_share(rows, columns)))
    return best


# Rows and columns of the scores that one block of a fused attention kernel holds: the smallest of the tiles in
# the names of NVIDIA's kernels (fmha_v2_flash_attention_fp16_64_64_S_64_sm86, ...). Partly filled ones are paid.
ATTENTION_BLOCK = 64
# Scalar instructions per score: scale, running maximum, exponential (6) and sum.
SCORE_INSTRUCTIONS = 10


def attention_ms(work: AttentionWork, *, macs_per_ms: float, board: Board, constants: Constants) -> float:
    """Time the arithmetic of fused attention: both products over whole blocks of scores, and the exponentials.

    The products of one block wait for its exponentials and the other way round, so that both are paid
    (Dao et al., "FlashAttention", arXiv 2205.14135).

    Args:
        work: Size of the attention.
        macs_per_ms: Peak multiply-adds of the whole board per millisecond.
        board: Board that it runs on.
        constants: Fitted constants.
    """
    queries = math.ceil(work.queries / ATTENTION_BLOCK) * ATTENTION_BLOCK
    keys = math.ceil(work.keys / ATTENTION_BLOCK) * ATTENTION_BLOCK
    blocks = work.batch * queries // ATTENTION_BLOCK
    filled = math.ceil(blocks / board.num_sms) * board.num_sms / blocks
    scores = work.batch * queries * keys * filled
    products = scores * (work.qk_dim + work.v_dim) / (macs_per_ms * constants.matmul_share)
    return products + scores * SCORE_INSTRUCTIONS / board.instructions_per_ms
