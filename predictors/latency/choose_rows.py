"""Choose the rows of a latency table that are worth measuring next."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey
from nuwa_search.predictors.latency.unit_times import Branch, fit_groups, group_of, point_of

Array = npt.NDArray[np.float64]

# A branch known to this share of its latency is not worth another row.
GOOD_ENOUGH = 0.004


def next_rows(
    candidates: Sequence[BlockKey], rows: Sequence[TableRow], *, count: int, good_enough: float = GOOD_ENOUGH
) -> list[BlockKey]:
    """Pick candidates whose interpolated time is least certain, far from one another.

    A row's uncertainty is that of the interpolation in milliseconds; near rows that the interpolation
    without them would have missed (the edges of a staircase) it counts more.

    Args:
        candidates: Keys of one kind of branch, not measured yet.
        rows: Measured rows, at least one of each candidate's kind.
        count: At most this many.
        good_enough: Relative uncertainty below which a candidate is left alone.
    """
    if not candidates or count < 1:
        return []
    groups = fit_groups(rows)
    chosen: list[BlockKey] = []
    by_group: dict[object, list[BlockKey]] = {}
    for key in candidates:
        by_group.setdefault(group_of(_branch(key), key.context), []).append(key)
    for group, keys in by_group.items():
        if group not in groups:
            chosen += keys[:count]
            continue
        surface = groups[group].work
        points = np.array([point_of(_branch(k), k.block, k.context) for k in keys], dtype=np.float64)
        value, sd = surface.predict(points)
        places = surface.coordinates(points)
        misses = surface.misses()
        nearest = np.argmin(_distances(places, surface.places), axis=1)
        urgency = sd * (1 + misses[nearest])
        urgency[sd < good_enough * value] = 0.0
        for _ in range(min(count, len(keys))):
            best = int(np.argmax(urgency))
            if urgency[best] <= 0:
                break
            chosen.append(keys[best])
            away = _distances(places, places[best : best + 1])[:, 0]
            urgency *= 1 - np.exp(-away / surface.reach)
    return chosen


def _branch(key: BlockKey) -> Branch:
    return "attn" if key.kind == "attn" else "mlp"


def _distances(left: Array, right: Array) -> Array:
    squared = np.sum((left[:, None, :] - right[None, :, :]) ** 2, axis=2)
    return np.asarray(np.sqrt(squared), dtype=np.float64)
