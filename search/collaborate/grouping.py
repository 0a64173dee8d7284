"""Group the classes of a task: one group for each sub-model, disjoint, complete, sizes at most one apart."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError

Groups = tuple[tuple[int, ...], ...]
"""Classes of each group, ascending; groups by their first class."""


def group_at_random(num_classes: int, *, num_groups: int, seed: int) -> Groups:
    """Shuffle the classes with a seed and cut (DeViT, arXiv 2309.05015, step 1).

    Raises:
        NuwaError: If there are fewer classes than groups.
    """
    sizes = group_sizes(num_classes, num_groups)
    order = np.random.default_rng(seed).permutation(num_classes)
    return _sorted(np.split(order, np.cumsum(sizes)[:-1]))


def group_balanced(counts: Sequence[int], *, num_groups: int) -> Groups:
    """Even out the images: the largest class left goes to the group of fewest images that has room for a class.

    The balanced split of ED-ViT (arXiv 2410.11650), for classes of unequal numbers of images; equal ones are dealt in
    turn.

    Args:
        counts: Training images of each class.
        num_groups: Groups.

    Raises:
        NuwaError: If there are fewer classes than groups.
    """
    sizes = group_sizes(len(counts), num_groups)
    groups: list[list[int]] = [[] for _ in sizes]
    for one in sorted(range(len(counts)), key=lambda c: (-counts[c], c)):
        free = [g for g in range(num_groups) if len(groups[g]) < sizes[g]]
        place = min(free, key=lambda g: (sum(counts[c] for c in groups[g]), len(groups[g]), g))
        groups[place].append(one)
    return _sorted(groups)


def group_by_confusion(confusion: npt.ArrayLike, *, num_groups: int, seed: int = 0) -> Groups:
    """Put classes that the base confuses into one group, so that one sub-model learns to tell them apart.

    What is maximised is the confusion inside groups. The better of a greedy start and of the random grouping of
    ``seed`` goes on by exchanges of two classes until none helps (Kernighan and Lin, *An efficient heuristic procedure
    for partitioning graphs*, 1970), so it is never worse by this measure than the random one.

    Args:
        confusion: (C, C) images of each class (row) that were given each answer (column), or their shares.
        num_groups: Groups.
        seed: Seed of the random start.

    Raises:
        NuwaError: If there are fewer classes than groups, or the table is not square.
    """
    table = np.asarray(confusion, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise NuwaError(f"a confusion of classes is square, found {table.shape}")
    ties = table + table.T
    np.fill_diagonal(ties, 0.0)
    sizes = group_sizes(len(ties), num_groups)
    starts = [_greedy(ties, sizes), list(group_at_random(len(ties), num_groups=num_groups, seed=seed))]
    found = [_exchanged(ties, _labels(start, len(ties))) for start in starts]
    best = max(found, key=lambda labels: _inside(ties, labels))
    return _sorted([np.flatnonzero(best == g) for g in range(num_groups)])


def confusion_inside(confusion: npt.ArrayLike, groups: Groups) -> float:
    """Share of all confusion that lies between classes of one group; 1 where nothing is confused."""
    table = np.asarray(confusion, dtype=np.float64)
    ties = table + table.T
    np.fill_diagonal(ties, 0.0)
    total = float(ties.sum())
    return 1.0 if total == 0 else _inside(ties, _labels(groups, len(ties))) / total


def group_sizes(num_classes: int, num_groups: int) -> list[int]:
    """Sizes that differ by at most one, the larger ones first.

    Raises:
        NuwaError: If there are fewer classes than groups, or no group.
    """
    if not 1 <= num_groups <= num_classes:
        raise NuwaError(
            f"{num_classes} classes cannot be cut into {num_groups} groups",
            hint=f"give at most {num_classes} devices, or more classes",
        )
    least, rest = divmod(num_classes, num_groups)
    return [least + (g < rest) for g in range(num_groups)]


def _greedy(ties: npt.NDArray[np.float64], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Fill group by group: begin with the class of most ties left, add the one most tied to the group."""
    left = set(range(len(ties)))
    groups = []
    for size in sizes:
        rest = sorted(left)
        group = [max(rest, key=lambda c: (ties[c, rest].sum(), -c))]
        left.remove(group[0])
        while len(group) < size:
            nearest = max(sorted(left), key=lambda c: (ties[c, group].sum(), -c))
            group.append(nearest)
            left.remove(nearest)
        groups.append(tuple(group))
    return groups


def _exchanged(ties: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Exchange the two classes that win most, until no exchange wins."""
    labels = labels.copy()
    num_groups = int(labels.max()) + 1
    while True:
        to_group = ties @ np.eye(num_groups)[labels]  # (C, G) ties of a class to each group
        own = to_group[np.arange(len(ties)), labels]
        gain = to_group[:, labels] - own[:, None]  # of moving row's class to column's group
        total = gain + gain.T - 2 * ties
        total[labels[:, None] == labels[None, :]] = 0.0
        one, other = np.unravel_index(int(total.argmax()), total.shape)
        if total[one, other] <= 1e-9 * max(1.0, float(ties.sum())):
            return labels
        labels[one], labels[other] = labels[other], labels[one]


def _labels(groups: Sequence[Sequence[int]], num_classes: int) -> npt.NDArray[np.int64]:
    labels = np.empty(num_classes, dtype=np.int64)
    for place, group in enumerate(groups):
        labels[list(group)] = place
    return labels


def _inside(ties: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    return float(ties[labels[:, None] == labels[None, :]].sum())


def _sorted(groups: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> Groups:
    return tuple(sorted(tuple(sorted(int(c) for c in group)) for group in groups))
