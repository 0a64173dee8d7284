"""A few images of a split, of every class: files come class by class, so the first ones are of one class alone."""

import torch
from torch import Tensor

from nuwa_search.core.tensors import SplitTensors


def spread_evenly(split: SplitTensors, count: int) -> SplitTensors:
    """Take at most ``count`` images, as evenly over the classes as they come; deterministic, in the split's order."""
    return split if len(split) <= count else split.take(places_in_turn(split, count))


def places_in_turn(split: SplitTensors, count: int) -> Tensor:
    """Return which images ``spread_evenly`` takes: (at most ``count``,) int64, ascending."""
    return in_turn(split.labels)[:count].sort().values


def classes_in_turn(split: SplitTensors, count: int) -> SplitTensors:
    """Take at most ``count`` images in such an order that the classes are even in every leading part."""
    return split.take(in_turn(split.labels)[:count])


def in_turn(labels: Tensor) -> Tensor:
    """Order of the images (N,) with one of each class after another."""
    order = torch.argsort(labels, stable=True)
    rank = torch.empty_like(order)
    start = 0
    for size in torch.bincount(labels).tolist():
        rank[order[start : start + size]] = torch.arange(size)
        start += size
    return torch.argsort(rank, stable=True)
