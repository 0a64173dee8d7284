"""What groups of pixel classes are made from: shares of each class's pixels by the base's answer."""

import numpy as np
import torch

from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.search.collaborate.class_table import pixel_confusion


def scaled(plane: np.ndarray, place: int, size: int) -> tuple[int, int, float]:
    """Cells left and right of a pixel's centre, and how far it is on the way between them."""
    at = min(max((place + 0.5) * len(plane) / size - 0.5, 0.0), len(plane) - 1.0)
    low = int(at)
    return low, min(low + 1, len(plane) - 1), at - low


def test_pixels_are_counted_one_by_one_and_ignored_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 3, 2, 2)).astype(np.float32)
    masks = rng.integers(0, 2, (3, 6, 6)).astype(np.uint8)  # no pixel is of the last class
    masks[0, :2] = IGNORED
    counts = np.zeros((3, 3))
    for image in range(3):
        for row in range(6):
            for column in range(6):
                if masks[image, row, column] == IGNORED:
                    continue
                (up, down, y), (left, right, x) = (scaled(logits[image, 0], at, 6) for at in (row, column))
                corners = logits[image]
                top = corners[:, up, left] * (1 - x) + corners[:, up, right] * x
                bottom = corners[:, down, left] * (1 - x) + corners[:, down, right] * x
                counts[masks[image, row, column], int((top * (1 - y) + bottom * y).argmax())] += 1
    split = SplitTensors(
        torch.zeros(3, 3, 6, 6, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), masks=torch.from_numpy(masks)
    )
    wanted = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    found = pixel_confusion(torch.from_numpy(logits), split)
    assert np.allclose(found, wanted)
    assert (found.sum(axis=1) == [1, 1, 0]).all()
