"""RandAugment-like operations for whole batches, without a data-dependent shape or a sync.

Source: RandAugment (arXiv 1909.13719); ranges as in timm's ``auto_augment`` at magnitude 10. Geometric
operations of one image are composed into a single affine resampling, so their order against colour
operations is lost; all else is per image and in order.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ROTATE_RADIANS = math.radians(30)
MAX_SHEAR = 0.3
MAX_TRANSLATE = 0.45
"""Fraction of the side."""
MAX_ENHANCE = 0.9
NUM_GEOMETRIC = 5
"""Rotate, shear x, shear y, translate x, translate y."""


def apply_random_ops(images: Tensor, ops: Tensor, levels: Tensor) -> Tensor:
    """Apply ``rand_ops`` operations to each image.

    Args:
        images: (B, 3, H, W) in 0..1.
        ops: (B, rand_ops) non-negative integers, taken modulo the number of operations.
        levels: (B, rand_ops) signed strength in -1..1.
    """
    kind = ops % (NUM_GEOMETRIC + len(COLOUR_OPS))
    out = _warped(images, kind, levels)
    for k in range(ops.shape[1]):
        level = levels[:, k].view(-1, 1, 1, 1)
        for number, op in enumerate(COLOUR_OPS, start=NUM_GEOMETRIC):
            chosen = (kind[:, k] == number).view(-1, 1, 1, 1)
            out = torch.where(chosen, op(out, level).clamp(0, 1), out)
    return out


def _warped(images: Tensor, kind: Tensor, levels: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    total = torch.eye(3, device=images.device).expand(len(images), 3, 3)
    for k in range(kind.shape[1]):
        strength = [torch.where(kind[:, k] == op, levels[:, k], 0.0) for op in range(NUM_GEOMETRIC)]
        angle = strength[0] * MAX_ROTATE_RADIANS
        step = torch.zeros(len(images), 3, 3, device=images.device)
        step[:, 0, 0], step[:, 1, 1], step[:, 2, 2] = torch.cos(angle), torch.cos(angle), 1.0
        # affine_grid's coordinates run from -1 to 1 along both sides, whatever their lengths
        step[:, 0, 1] = (-torch.sin(angle) + strength[1] * MAX_SHEAR) * (height / width)
        step[:, 1, 0] = (torch.sin(angle) + strength[2] * MAX_SHEAR) * (width / height)
        step[:, 0, 2] = strength[3] * MAX_TRANSLATE * 2
        step[:, 1, 2] = strength[4] * MAX_TRANSLATE * 2
        total = total @ step
    grid = F.affine_grid(total[:, :2], list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    is_warped = (kind < NUM_GEOMETRIC).any(dim=1).view(-1, 1, 1, 1)
    return torch.where(is_warped, warped, images)


def _brightness(images: Tensor, level: Tensor) -> Tensor:
    return images * (1 + MAX_ENHANCE * level)


def _contrast(images: Tensor, level: Tensor) -> Tensor:
    return images + MAX_ENHANCE * level * (images - images.mean(dim=(1, 2, 3), keepdim=True))


def _saturation(images: Tensor, level: Tensor) -> Tensor:
    return images + MAX_ENHANCE * level * (images - images.mean(dim=1, keepdim=True))


def _sharpness(images: Tensor, level: Tensor) -> Tensor:
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return images + MAX_ENHANCE * level * (images - blurred)


def _posterize(images: Tensor, level: Tensor) -> Tensor:
    steps = 2 ** (8 - (4 * level.abs()).round()) - 1
    return (images * steps).round() / steps


def _solarize(images: Tensor, level: Tensor) -> Tensor:
    return torch.where(images > 1 - level.abs(), 1 - images, images)


def _autocontrast(images: Tensor, level: Tensor) -> Tensor:
    del level  # an operation without strength, as in the paper
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)


def _identity(images: Tensor, level: Tensor) -> Tensor:
    del level
    return images


COLOUR_OPS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _identity,
)
