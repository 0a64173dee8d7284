"""Work that one branch of a block asks for, counted in several tile sizes.

Latency against width is a staircase: hardware works on whole tiles. Which tile a device uses is not
known, so every product is counted once per candidate size and a non-negative fit to measured rows
picks among them. Sources: wave and tile quantisation as NVIDIA's matrix-multiplication guide
describes it; the choice of candidates and the fit are ours.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# 1: no steps; 8: vector units of CPUs and half-precision tensor cores; 16-128: GEMM tiles of CPU and
# GPU libraries.
TILES = (1, 8, 16, 32, 64, 128)


def ceil_to(value: Array, tile: int) -> Array:
    """Round up to a multiple of ``tile``."""
    return np.ceil(value / tile) * tile


def attn_work(points: Array, *, num_tokens: int | Array) -> Array:
    """Count the work of attention branches.

    Args:
        points: (n, 4): embed_dim, num_heads, qk_dim, v_dim.
        num_tokens: Length N of the residual stream, or one for each point, (n,).

    Returns:
        (n, num_features) non-negative: constant, products per tile size, bytes moved.
    """
    d, heads, qk, v = points.T
    n = np.asarray(num_tokens, dtype=np.float64)
    columns: list[Array] = [np.ones_like(d)]
    for tile in TILES:
        columns += [
            n * d * ceil_to(heads * (2 * qk + v), tile),
            n * heads * v * ceil_to(d, tile),
            heads * n * n * ceil_to(qk, tile),
            heads * n * n * ceil_to(v, tile),
        ]
    columns += [d * heads * (2 * qk + v), heads * n * n, n * d, n * heads * (2 * qk + v), heads]
    return np.stack(columns, axis=1)


def mlp_work(points: Array, *, num_tokens: int | Array) -> Array:
    """Count the work of MLP branches.

    Args:
        points: (n, 2): embed_dim, mlp_width.
        num_tokens: Length N of the residual stream, or one for each point, (n,).

    Returns:
        (n, num_features) non-negative: constant, products per tile size, bytes moved.
    """
    d, width = points.T
    n = np.asarray(num_tokens, dtype=np.float64)
    columns: list[Array] = [np.ones_like(d)]
    for tile in TILES:
        columns += [n * d * ceil_to(width, tile), n * width * ceil_to(d, tile)]
    columns += [d * width, n * d, n * width]
    return np.stack(columns, axis=1)


def stem_work(points: Array) -> Array:
    """Count the work of the ends of a net.

    Args:
        points: (n, 4): embed_dim, num_classes, num_patches, inputs per patch.

    Returns:
        (n, num_features) non-negative.
    """
    d, classes, patches, inputs = points.T
    columns: list[Array] = [np.ones_like(d)]
    columns += [patches * inputs * ceil_to(d, tile) for tile in TILES]
    columns += [patches * d, d * classes, classes]
    return np.stack(columns, axis=1)


def log_coordinates(points: Array) -> Array:
    """Place points for interpolation: logarithms of the widths and, for attention, of the joint widths.

    Args:
        points: (n, 2) for MLPs, (n, 4) for attention or stems, as above.
    """
    logs = np.log2(points)
    if points.shape[1] == 4:
        _, heads, qk, v = points.T
        logs = np.concatenate([logs, np.log2(np.stack([heads * (2 * qk + v), heads * v], axis=1))], axis=1)
    return np.asarray(logs, dtype=np.float64)
