"""The multiple-choice knapsack over all budgets at once, by dynamic programming over non-dominated sums.

One item is taken from each group; time and cost add up. Groups are merged one by one and only sums that no
other sum beats in both are kept (Nemhauser and Ullmann, Management Science 15(9), 1969), which is exact for real
numbers and answers every budget. Where the list grows past a limit it is thinned to the cheapest sum per time
slot; the gap to a lower bound, from the same programme with times rounded in its favour, is then reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_SUMS = 20_000
"""Sums kept per merge: 20 000 sums times 100 items are merged in about a tenth of a second."""


@dataclass(frozen=True)
class Group:
    """Items to choose one from: ``times`` and ``costs``, each (num_items,)."""

    times: Floats
    costs: Floats


@dataclass(frozen=True)
class ParetoSums:
    """All non-dominated choices, time ascending and cost descending.

    Args:
        times: (num_points,) total time.
        costs: (num_points,) total cost.
        choices: (num_points, num_groups) item taken from each group.
        bound_times: Times of a relaxation that no choice beats; equal to ``times`` when exact.
        bound_costs: Its costs.
    """

    times: Floats
    costs: Floats
    choices: Ints
    bound_times: Floats
    bound_costs: Floats

    def best_within(self, budget: float) -> int | None:
        """Find the cheapest point with ``time <= budget``; None if there is none."""
        place = int(np.searchsorted(self.times, budget, side="right")) - 1
        return place if place >= 0 else None

    def gap_within(self, budget: float) -> float:
        """Bound (cost − optimum) / cost of ``best_within(budget)``, a fraction; 0 is proven optimal.

        Raises:
            NuwaError: If nothing fits.
        """
        place = self.best_within(budget)
        if place is None:
            raise NuwaError(f"no choice takes at most {budget:g} ms")
        bound = int(np.searchsorted(self.bound_times, budget, side="right")) - 1
        cost = float(self.costs[place])
        return max(0.0, (cost - float(self.bound_costs[bound])) / cost) if cost > 0 else 0.0


def solve(groups: Sequence[Group], *, max_sums: int = MAX_SUMS) -> ParetoSums:
    """Merge all groups.

    Raises:
        NuwaError: If a group has no item or a number is not finite.
    """
    if not groups or any(len(g.times) == 0 or not np.isfinite([g.times, g.costs]).all() for g in groups):
        raise NuwaError("a knapsack needs groups of items with finite times and costs")
    times, costs, trails, thinned = _merge_all(groups, max_sums=max_sums, favour=False)
    choices = _trace(trails, len(times))
    if not thinned:
        return ParetoSums(times, costs, choices, times, costs)
    bound_times, bound_costs, _, _ = _merge_all(groups, max_sums=max_sums, favour=True)
    return ParetoSums(times, costs, choices, bound_times, bound_costs)


def _merge_all(
    groups: Sequence[Group], *, max_sums: int, favour: bool
) -> tuple[Floats, Floats, list[tuple[Ints, Ints]], bool]:
    times, costs = np.zeros(1), np.zeros(1)
    trails: list[tuple[Ints, Ints]] = []
    thinned = False
    for group in groups:
        items = _non_dominated(group.times, group.costs)
        all_times = (times[:, None] + group.times[items][None, :]).ravel()
        all_costs = (costs[:, None] + group.costs[items][None, :]).ravel()
        kept = _non_dominated(all_times, all_costs)
        times, costs = all_times[kept], all_costs[kept]
        if len(kept) > max_sums:
            thinned = True
            slot = np.floor((times - times[0]) / (times[-1] - times[0]) * max_sums)
            ends = np.append(np.flatnonzero(np.diff(slot)), len(slot) - 1)  # cheapest of a slot comes last
            if favour:  # a slot's least time with its least cost: no choice beats that
                times, costs, kept = times[np.insert(ends[:-1] + 1, 0, 0)], costs[ends], kept[ends]
            else:
                ends = np.union1d([0], ends)  # the fastest sum must stay reachable
                times, costs, kept = times[ends], costs[ends], kept[ends]
        trails.append((kept // len(items), items[kept % len(items)]))
    return times, costs, trails, thinned


def _non_dominated(times: Floats, costs: Floats) -> Ints:
    """Indices of pairs that no other beats in both, time ascending and cost strictly descending."""
    order = np.lexsort((costs, times))
    lowest = np.minimum.accumulate(costs[order])
    better = np.ones(len(order), dtype=bool)
    better[1:] = lowest[1:] < lowest[:-1]
    return np.asarray(order[better], dtype=np.int64)


def _trace(trails: Sequence[tuple[Ints, Ints]], num_points: int) -> Ints:
    place = np.arange(num_points)
    choices = np.empty((num_points, len(trails)), dtype=np.int64)
    for g in range(len(trails) - 1, -1, -1):
        before, item = trails[g]
        choices[:, g] = item[place]
        place = before[place]
    return choices
