"""What a pixel weighs by its class, so that rare classes are not answered away."""

import torch
from torch import Tensor


def class_pixels(masks: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class in masks (N, H, W) uint8: (C,) double; ignored ones are in none."""
    return torch.bincount(masks.flatten().long(), minlength=256)[:num_classes].double()


def class_weights(masks: Tensor, num_classes: int, rarity: float) -> Tensor:
    """Return what a pixel of each class weighs: (C,) double, its share of the pixels to the power of -``rarity``."""
    counts = class_pixels(masks, num_classes)
    share = counts / counts.sum().clamp_min(1)
    return torch.where(counts > 0, share.clamp_min(1e-12) ** -rarity, 0.0)


def pixel_weights(masks: Tensor, num_classes: int, rarity: float) -> Tensor:
    """Return the same scaled to a mean of 1 over the pixels: (C,) float32, on the CPU."""
    masks = masks.cpu()
    weights, counts = class_weights(masks, num_classes, rarity), class_pixels(masks, num_classes)
    mean = (weights * counts).sum() / counts.sum().clamp_min(1)
    return (weights / mean.clamp_min(1e-12)).float()
