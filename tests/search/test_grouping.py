"""Groups of classes: disjoint, complete, even, repeatable, and by confusion as good as the best there is."""

import itertools

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.collaborate.grouping import (
    Groups,
    confusion_inside,
    group_at_random,
    group_balanced,
    group_by_confusion,
)


def is_partition(groups: Groups, num_classes: int) -> bool:
    sizes = [len(group) for group in groups]
    return sorted(itertools.chain(*groups)) == list(range(num_classes)) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("num_classes", "num_groups"), [(100, 4), (10, 3), (7, 7), (5, 1)])
def test_every_way_cuts_the_classes_into_even_groups(num_classes: int, num_groups: int) -> None:
    rng = np.random.default_rng(0)
    for groups in (
        group_at_random(num_classes, num_groups=num_groups, seed=3),
        group_balanced(rng.integers(1, 50, num_classes).tolist(), num_groups=num_groups),
        group_by_confusion(rng.random((num_classes, num_classes)), num_groups=num_groups),
    ):
        assert len(groups) == num_groups
        assert is_partition(groups, num_classes)


def test_a_seed_is_a_split() -> None:
    first = group_at_random(100, num_groups=4, seed=1)
    assert first == group_at_random(100, num_groups=4, seed=1)
    assert first != group_at_random(100, num_groups=4, seed=2)


def test_balanced_groups_hold_as_even_numbers_of_images_as_can_be() -> None:
    counts = [90, 10, 80, 20, 70, 30]
    groups = group_balanced(counts, num_groups=3)
    assert sorted(sum(counts[c] for c in group) for group in groups) == [100, 100, 100]


def test_confused_classes_stay_together() -> None:
    """Three cliques, hidden by a permutation, are found."""
    hidden = np.random.default_rng(5).permutation(12).reshape(3, 4)
    confusion = np.zeros((12, 12))
    for clique in hidden:
        confusion[np.ix_(clique, clique)] = 1.0
    groups = group_by_confusion(confusion, num_groups=3)
    assert groups == tuple(sorted(tuple(sorted(int(c) for c in clique)) for clique in hidden))
    assert confusion_inside(confusion, groups) == 1.0


def test_by_confusion_is_near_the_best_and_never_worse_than_random() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        confusion = rng.exponential(size=(8, 8)) ** 3
        found = confusion_inside(confusion, group_by_confusion(confusion, num_groups=2, seed=seed))
        every = [(half, tuple(set(range(8)) - set(half))) for half in itertools.combinations(range(8), 4)]
        best = max(confusion_inside(confusion, groups) for groups in every)
        assert found >= confusion_inside(confusion, group_at_random(8, num_groups=2, seed=seed)) - 1e-12
        assert found >= 0.9 * best


def test_more_groups_than_classes_are_refused() -> None:
    with pytest.raises(NuwaError, match="3 classes cannot be cut into 4 groups"):
        group_at_random(3, num_groups=4, seed=0)
    with pytest.raises(NuwaError, match="square"):
        group_by_confusion(np.ones((3, 2)), num_groups=2)
