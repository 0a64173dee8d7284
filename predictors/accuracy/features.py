"""Numbers that describe a subnet to the accuracy predictor: what each branch costs alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.predictors.accuracy.prior import AdditivePrior

Floats = npt.NDArray[np.float64]


class Featuriser:
    """Maps archs to branch disturbances, remembering what each block costs."""

    def __init__(self, prior: AdditivePrior) -> None:
        self._prior = prior
        self._roots: dict[tuple[int, BlockSpec], tuple[float, float]] = {}

    def branch_roots(self, archs: Sequence[Arch]) -> Floats:
        """Describe archs by the square root of each branch's KL: (num_archs, 2 · num_blocks + 1).

        Columns are attention and MLP of block 0, of block 1, …, then ``embed_dim``, and the image size where the
        library tells of several.
        """
        has_sizes = bool(self._prior.sizes)
        rows = np.empty((len(archs), 2 * len(self._prior.base.blocks) + 1 + has_sizes))
        for row, arch in zip(rows, archs, strict=True):
            values: list[float] = []
            for i, block in enumerate(arch.blocks):
                values.extend(self._root(i, block))
            values.append(self._prior.embed_cost(arch.embed_dim) ** 0.5)
            if has_sizes:
                values.append(self._prior.size_cost(arch.img_size) ** 0.5)
            row[:] = values
        return rows

    def _root(self, i: int, block: BlockSpec) -> tuple[float, float]:
        key = (i, block)
        found = self._roots.get(key)
        if found is None:
            attn, mlp = self._prior.block_cost(i, block)
            found = self._roots[key] = (attn**0.5, mlp**0.5)
        return found


def summaries(roots: Floats) -> Floats:
    """Condense branch roots (n, d) to (n, 4): how cuts add up when independent, aligned, or dominated by one.

    Columns: log of Σ KL, log of (Σ √KL)², log of the largest KL, log of Σ KL over the first half of the
    branches (an early disturbance passes through everything after it).
    """
    half = roots.shape[1] // 2
    floor = KL_FLOOR
    return np.column_stack(
        [
            np.log((roots**2).sum(axis=1) + floor),
            2 * np.log(roots.sum(axis=1) + floor**0.5),
            2 * np.log(roots.max(axis=1) + floor**0.5),
            np.log((roots[:, :half] ** 2).sum(axis=1) + floor),
        ]
    )


def gaps(archs: Sequence[Arch]) -> Floats:
    """Count what is gone, (n, 4): attention branches, MLPs, longest run of branches gone in a row, Σ run².

    A branch that stays can be re-solved to make up for one that goes beside it, less so for several in a row.
    """
    return np.array([_gaps(arch) for arch in archs], dtype=np.float64).reshape(len(archs), 4)


def _gaps(arch: Arch) -> tuple[int, int, int, int]:
    attn = mlp = run = longest = squares = 0
    for block in arch.blocks:
        for is_gone in (not block.num_heads, not block.mlp_width):
            run = run + 1 if is_gone else 0
            longest = max(longest, run)
            squares += 2 * run - 1 if run else 0  # the squares of 1, 2, … differ by 2k - 1
        attn += not block.num_heads
        mlp += not block.mlp_width
    return attn, mlp, longest, squares


def directions(roots: Floats) -> Floats:
    """Scale branch roots (n, d) to unit length; an uncut arch stays zero."""
    norms = np.sqrt((roots**2).sum(axis=1, keepdims=True))
    return np.asarray(roots / np.maximum(norms, KL_FLOOR))


KL_FLOOR = 1e-3
"""Added before logarithms, in nats: differences below it are within the noise of a few hundred images."""
