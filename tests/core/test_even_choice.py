"""A few images of a split are of every class, also where files come class by class."""

import torch

from nuwa_search.core.even_choice import classes_in_turn, spread_evenly
from nuwa_search.core.tensors import SplitTensors


def test_few_images_are_of_every_class() -> None:
    labels = torch.tensor([0] * 5 + [1] * 2 + [2] * 9)
    split = SplitTensors(torch.arange(16)[:, None, None, None], labels)
    assert classes_in_turn(split, 7).labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert spread_evenly(split, 7).labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert spread_evenly(split, 16) is split
