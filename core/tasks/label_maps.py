"""From a net's logits, one cell per patch, to a class for each pixel."""

import torch
from torch import Tensor
from torch.nn import functional as F

FINE = 4
"""Cells along a side of each patch at which scaled scores are held against masks in training: thin classes cover a
small part of a patch, and where in it they lie is what the scaling must learn."""


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale logits (B, C, h, w) to (B, C, *size), linearly between the centres of cells.

    What ONNX calls ``linear`` with ``half_pixel``.
    """
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def label_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Answer logits (C, h, w) with the likeliest class of each pixel of a picture of ``size`` (H, W): (H, W) int64.

    One class after another is scaled, so that memory does not grow with their number; of equals the first wins.
    """
    best = upsampled(logits[None, :1], size)[0, 0]
    answer = torch.zeros(size, dtype=torch.int64, device=logits.device)
    for label in range(1, len(logits)):
        found = upsampled(logits[None, label : label + 1], size)[0, 0]
        answer[found > best] = label
        best = torch.maximum(best, found)
    return answer


def pixel_rows(logits: Tensor) -> Tensor:
    """Lay logits (B, C, h, w) out as rows (B · h · w, C), image by image; rows (B, C) stay as they are."""
    return logits if logits.ndim == 2 else logits.flatten(2).transpose(1, 2).flatten(0, 1)


def class_shares(masks: Tensor, *, num_classes: int, grid: tuple[int, int]) -> Tensor:
    """Return how much of each cell each class covers: (B, C, *grid) of masks (B, H, W) uint8.

    Pixels that are ignored belong to no class: the shares of their cells add up to less than 1.
    """
    one_hot = torch.stack([masks == label for label in range(num_classes)], dim=1).float()
    return F.adaptive_avg_pool2d(one_hot, grid)
