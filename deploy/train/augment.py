"""Apply a view to uint8 images as tensor operations, on whichever device they lie."""

import torch
from torch import Tensor

from nuwa_search.core.images import Preprocess
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.deploy.train.randaugment import apply_random_ops
from nuwa_search.deploy.train.views import View

GREY = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R BT.601), as Pillow's and torchvision's greyscale use."""


def render(images: Tensor, view: View, indices: Tensor, preprocess: Preprocess) -> Tensor:
    """Make network input from the images at ``indices``: (B, 3, H, W) float32, normalised.

    Args:
        images: (N, 3, H, W) uint8, the whole split: partners for mixing come from anywhere in it.
        view: Choices for all N images, on the same device.
        indices: (B,) int64.
        preprocess: Gives mean and standard deviation.
    """
    mean = torch.tensor(preprocess.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocess.std, device=images.device).view(1, -1, 1, 1)
    out = (_augmented(images[indices], view.take(indices), mean) - mean) / std
    if not view.is_mixed:
        return out
    keep = view.keep[indices].view(-1, 1, 1, 1)
    others = view.partner[indices]
    mixed_in = (_augmented(images[others], view.take(others), mean) - mean) / std
    box = view.paste[indices]
    is_pasted = box_mask(box, images)
    is_cutmix = (box[:, 1] > box[:, 0]).view(-1, 1, 1, 1)
    blended = keep * out + (1 - keep) * mixed_in
    return torch.where(is_cutmix, torch.where(is_pasted, mixed_in, out), blended)


def moved_masks(masks: Tensor, view: View) -> Tensor:
    """Move masks (B, H, W) uint8 as ``render`` moves their images; what is blanked there is ignored here.

    Args:
        masks: Of some images.
        view: Choices for them.
    """
    moved = _moved(masks[:, None], view)
    return moved.masked_fill(box_mask(view.erase, masks), IGNORED)[:, 0]


def mix_targets(targets: Tensor, view: View, indices: Tensor) -> Tensor:
    """Mix target distributions as ``render`` mixes images: (N, C) of the whole split to (B, C)."""
    keep = view.keep[indices][:, None]
    return keep * targets[indices] + (1 - keep) * targets[view.partner[indices]]


def box_mask(box: Tensor, images: Tensor) -> Tensor:
    """Turn boxes (B, 4) of y0, y1, x0, x1 into a mask (B, 1, H, W) of images (…, H, W)."""
    down, across = (torch.arange(side, device=box.device) for side in images.shape[-2:])
    rows = (down >= box[:, 0:1]) & (down < box[:, 1:2])
    columns = (across >= box[:, 2:3]) & (across < box[:, 3:4])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _augmented(images: Tensor, view: View, mean: Tensor) -> Tensor:
    out = _moved(images, view).float() / 255.0
    if view.ops.shape[1]:
        out = apply_random_ops(out, view.ops, view.levels)
    if view.is_jittered:
        out = _jittered(out, view.colour)
    return torch.where(box_mask(view.erase, images), mean, out) if view.is_erased else out


def _moved(images: Tensor, view: View) -> Tensor:
    if not view.is_moved:
        return images
    height, width = images.shape[-2:]
    down, across = (torch.arange(side, device=images.device) for side in (height, width))
    rows = _reflected(down - view.shift[:, 0:1], height)
    columns = _reflected(across - view.shift[:, 1:2], width)
    columns = torch.where(view.flip[:, None], width - 1 - columns, columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    # advanced indices around a slice put the slice last: (B, H, W, 3)
    return images[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(place: Tensor, size: int) -> Tensor:
    place = place.abs()  # reflection without repeating the edge pixel, as numpy's "reflect"
    return torch.where(place >= size, 2 * (size - 1) - place, place).clamp(0, size - 1)


def _jittered(images: Tensor, colour: Tensor) -> Tensor:
    brightness, contrast, saturation = (c.view(-1, 1, 1, 1) for c in colour.unbind(dim=1))
    out = images * brightness
    out = out + (contrast - 1) * (out - grey_of(out).mean(dim=(2, 3), keepdim=True))
    return (out + (saturation - 1) * (out - grey_of(out))).clamp(0, 1)


def grey_of(images: Tensor) -> Tensor:
    """Return luma (B, 1, H, W) of RGB images in 0..1."""
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
