"""The front of latency and KL: what no other subnet beats in both, and the area it covers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def front_indices(times: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices of points (lower is better in both) that no other beats, fastest first; equal points once."""
    order = np.lexsort((np.asarray(costs, dtype=np.float64), np.asarray(times, dtype=np.float64)))
    front: list[int] = []
    for k in order:
        if not front or costs[k] < costs[front[-1]]:
            front.append(int(k))
    return front


def hypervolume(times: Sequence[float], costs: Sequence[float], *, reference: tuple[float, float]) -> float:
    """Area between the front and ``reference`` (worst time, worst cost); points beyond it add nothing."""
    inside = [(t, c) for t, c in zip(times, costs, strict=True) if t < reference[0] and c < reference[1]]
    if not inside:
        return 0.0
    front = front_indices([t for t, _ in inside], [c for _, c in inside])
    ordered: npt.NDArray[np.float64] = np.array([inside[k] for k in front])
    ends = np.append(ordered[1:, 0], reference[0])
    return float(((ends - ordered[:, 0]) * (reference[1] - ordered[:, 1])).sum())
