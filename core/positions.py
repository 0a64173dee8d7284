"""Position embeddings for another grid of patches."""

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor


@torch.no_grad()
def resampled_positions(positions: Tensor, num_patches: int) -> Tensor:
    """Resample patch positions (1, n, C) of a square grid to ``num_patches`` as timm does: bicubic, antialiased."""
    old, new = round(positions.shape[1] ** 0.5), round(num_patches**0.5)
    if old == new:
        return positions
    out: Tensor = resample_abs_pos_embed(positions, new_size=[new, new], old_size=[old, old], num_prefix_tokens=0)
    return out
