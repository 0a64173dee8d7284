"""Two simple latency predictors that a report card is held against."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cost import count_macs
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockContext, BlockKey, StemKey, attn_part, context_of, mlp_part
from nuwa_search.predictors.latency.stem_times import StemTimes

Array = npt.NDArray[np.float64]


def predict_by_macs(archs: Sequence[Arch], *, fitted: Sequence[tuple[Arch, float]]) -> Array:
    """Scale MACs to milliseconds by one factor, the least-squares one for relative errors.

    Args:
        archs: What to predict.
        fitted: Nets with measured milliseconds.
    """
    ratios = np.array([count_macs(arch) / ms for arch, ms in fitted], dtype=np.float64)
    factor = ratios.sum() / (ratios**2).sum()
    return np.array([factor * count_macs(arch) for arch in archs], dtype=np.float64)


def operator_macs(block: BlockSpec, context: BlockContext) -> Array:
    """Count operators of a block and their MACs, (12,): a one and the MACs for each kind of operator."""
    n, d, h = context.num_tokens, context.embed_dim, block.num_heads
    attn = [n * d * h * (2 * block.qk_dim + block.v_dim), h * n * n * block.qk_dim, h * n * n * block.v_dim]
    attn.append(n * d * h * block.v_dim)
    mlp = [n * d * block.mlp_width] * 2
    ones = [float(block.has_attn)] * 4 + [float(block.has_mlp)] * 2
    return np.array([*ones, *attn, *mlp], dtype=np.float64)


def predict_by_operators(archs: Sequence[Arch], *, rows: Sequence[TableRow]) -> Array:
    """Add up operators, each a constant and a rate per MAC fitted to the rows of a latency table.

    Fusion, tiles and what overlaps are unknown to it, as to the published sums of operators.
    """
    alone = [r for r in rows if isinstance(r.key, BlockKey) and r.key.company == "alone" and r.latency_ms > 0]
    design, inverse = [], []
    for row in alone:
        if isinstance(row.key, StemKey):
            continue
        design.append(operator_macs(row.key.block, row.key.context) / row.latency_ms)
        inverse.append(1.0)
    matrix = np.array(design)
    scale = np.maximum(matrix.max(axis=0), 1e-12)
    rates = nnls(matrix / scale, np.array(inverse))[0] / scale
    stems = StemTimes(rows).predict(archs, device_name="this device")
    totals = []
    for arch in archs:
        context = context_of(arch)
        parts = [part for b in arch.blocks for part in (attn_part(b), mlp_part(b)) if not part.is_empty]
        totals.append(sum(float(operator_macs(part, context) @ rates) for part in parts))
    return np.array(totals) + stems
