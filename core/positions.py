"""Position embeddings for another grid of patches."""

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

Grid = tuple[int, int]
"""Patches one below the other, and side by side."""


@torch.no_grad()
def resampled_positions(positions: Tensor, *, old: Grid, new: Grid) -> Tensor:
    """Resample patch positions (1, n, C) of one grid (rows, columns) to another as timm does: bicubic, antialiased."""
    if old == new:
        return positions
    out: Tensor = resample_abs_pos_embed(positions, new_size=[*new], old_size=[*old], num_prefix_tokens=0)
    return out
