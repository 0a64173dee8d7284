"""Rotary positions of DINOv3: queries and keys of patch tokens turn with the patch's place in the image.

Places are the centres of the patches with both axes scaled to -1..1, whatever the grid, so that another image size
needs no resampling. Channel c of a head of width d is paired with channel c + d/2; the pair turns by the inner product
of its wave (radians per unit of height and of width) with the place. The first d/4 pairs turn along the height, the
others along the width. A head that keeps some of its pairs keeps their waves.

Source: "DINOv3" (arXiv 2508.10104); timm 1.0, ``RotaryEmbeddingDinoV3`` with ``rotate_half`` (``pos_embed_sincos.py``).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def places_of(rows: int, columns: int) -> Tensor:
    """Return the places (rows · columns, 2) of a grid's patches, row by row: height, then width, each in -1..1."""
    with torch.inference_mode(False):  # it is kept, for nets that are trained too
        down, across = (
            2.0 * (torch.arange(count, dtype=torch.float32, device="cpu") + 0.5) / count - 1.0
            for count in (rows, columns)
        )
        return torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)


@lru_cache(maxsize=64)
def waves_of(dim: int, temperature: float) -> Tensor:
    """Return the waves (dim / 2, 2) of a whole head.

    Args:
        dim: Width of query and key per head, a multiple of 4.
        temperature: Period of the slowest wave, nearly; the fastest has 1.
    """
    with torch.inference_mode(False):
        exponents = 2.0 * torch.arange(dim // 4, dtype=torch.float32, device="cpu") / (dim // 2)
        speed = 2.0 * math.pi / temperature**exponents
        still = torch.zeros(dim // 4, device="cpu")
        return torch.cat([torch.stack([speed, still], dim=1), torch.stack([still, speed], dim=1)])


def turns(waves: Tensor, places: Tensor, *, num_prefix: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (..., num_prefix + n, q) by which tokens are turned; prefix tokens are not.

    The sines of the first half are negative, so that ``turned`` needs no negation.

    Args:
        waves: (..., q / 2, 2).
        places: (n, 2).
        num_prefix: Prefix tokens before the patch tokens.
    """
    # no matrix product: under autocast that would round the angles
    angles = (places[:, None, :] * waves.float()[..., None, :, :]).sum(dim=-1)
    still = angles.new_zeros(*angles.shape[:-2], num_prefix, angles.shape[-1])
    angles = torch.cat([still, angles], dim=-2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys (B, H, N, q) by what ``turns`` gave; the type of ``x`` stays."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([second, first], dim=-1) * sin).to(x.dtype)
