"""Rotary positions as ONNX nodes: queries and keys times cosines, plus their halves swapped times sines.

The tables are constants of the graph's image size, with a row of ones and zeros for each prefix token: no token is
taken out and put back. Halves are swapped in one of two ways, whichever is faster on the emulated boards
(``python -m benchmarks.rotary_forms``; a ViT-S's attention with 261 tokens in FP16). Per head, below opset 17, as for
TensorRT 8.2 on a Jetson Nano, by two slices and a concatenation: 3.70 ms against 3.80 with a constant matrix, 4.62 with
swapped copies of the projections, and 3.49 without rotation. Where q, k and v come from one Gemm, as for newer boards,
by the matrix: 0.245 ms against 0.263 on an Orin Nano, where launches count more than products.
"""

import numpy as np

from nuwa_search.deploy.export.folded import FloatArray, FoldedRotary
from nuwa_search.deploy.export.writer import GraphWriter


def write_turned(g: GraphWriter, x: str, rotary: FoldedRotary, name: str, *, width: int, rank: int) -> str:
    """Turn queries or keys by head (…, H, N, q), their halves swapped by slices.

    Args:
        g: Writer of the graph.
        x: Name of the tensor (…, H, N, q).
        rotary: Tables of cosines and sines.
        name: Prefix of the nodes.
        width: q, channels per head.
        rank: Number of axes of ``x``.
    """
    first = g.rows(x, 0, width // 2, f"{name}.first", axis=rank - 1)
    second = g.rows(x, width // 2, width, f"{name}.second", axis=rank - 1)
    swapped = g.node("Concat", [second, first], f"{name}.swapped", axis=rank - 1)
    cos, sin = _tables(g, rotary.cos, rotary.sin, name, is_shared=rotary.is_whole)
    return _sum(g, x, swapped, cos, sin, name)


def write_turned_by_token(
    g: GraphWriter, x: str, rotary: FoldedRotary, name: str, *, width: int, copies: int = 1
) -> str:
    """Turn queries and keys by token (…, N, copies · H, q), their halves swapped by a constant matrix.

    Args:
        g: Writer of the graph.
        x: Name of the tensor (…, N, copies · H, q).
        rotary: Tables of cosines and sines.
        name: Prefix of the nodes.
        width: q, channels per head.
        copies: Groups of H heads side by side: 2 for queries and keys together, 1 for either alone.

    Returns:
        Name of the turned tensor, of the same shape.
    """
    half = np.eye(width // 2, dtype=np.float32)
    nothing = np.zeros_like(half)
    matrix = g.shared(f"rotary.swap_{width}", np.block([[nothing, half], [half, nothing]]))
    swapped = g.node("MatMul", [x, matrix], f"{name}.swapped")
    cos, sin = (_by_token(table, copies) for table in (rotary.cos, rotary.sin))
    return _sum(g, x, swapped, *_tables(g, cos, sin, name, is_shared=rotary.is_whole), name)


def _by_token(table: FloatArray, copies: int) -> FloatArray:
    """Bring tokens to the front: (N, 1, q), or (N, copies · H, q) where heads differ."""
    if table.ndim == 2:  # of whole heads
        return table[:, None]
    return np.ascontiguousarray(np.tile(table.transpose(1, 0, 2), (1, copies, 1)))


def _tables(g: GraphWriter, cos: FloatArray, sin: FloatArray, name: str, *, is_shared: bool) -> tuple[str, str]:
    """Add the tables, once for all blocks that share them."""
    place = "rotary" if is_shared else name
    size = "_".join(map(str, cos.shape))
    return g.shared(f"{place}.cos_{size}", cos), g.shared(f"{place}.sin_{size}", sin)


def _sum(g: GraphWriter, x: str, swapped: str, cos: str, sin: str, name: str) -> str:
    straight = g.node("Mul", [x, cos], f"{name}.straight")
    return g.node("Add", [straight, g.node("Mul", [swapped, sin], f"{name}.crossed")], f"{name}.turned")
