"""Choose the factor on the residual stream from what the stream holds on real images."""

import math

import torch
from torch import Tensor

from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.vit import PlainViT

HEADROOM = 4.0
"""Images not seen may hold values this much larger before their squares overflow."""

_LARGEST_SQUARE = 65504.0  # largest FP16 number


@torch.inference_mode()
def stream_scale_from_images(model: PlainViT, images: Tensor, preprocess: Preprocess) -> float:
    """Give the largest power of two, at most 1, that keeps FP16 squares of the stream finite.

    Small streams are left at 1: scaling them down would push their squares into FP16's subnormals.

    Args:
        model: In FP32.
        images: (N, in_chans, H, W) uint8, a few dozen are enough.
        preprocess: Of the model.
    """
    x = model.patch_embed(normalise(images, preprocess)) + model.pos_embed
    x = torch.cat([model.prefix_tokens.expand(len(x), -1, -1), x], dim=1)
    peak = float(x.abs().max())
    x = model.norm_pre(x)
    peak = max(peak, float(x.abs().max()))
    for block in model.blocks:
        x = block(x)
        peak = max(peak, float(x.abs().max()))
    allowed = math.sqrt(_LARGEST_SQUARE) / HEADROOM
    return min(1.0, 2.0 ** math.floor(math.log2(allowed / max(peak, 1e-6))))
