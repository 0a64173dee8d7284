"""Small archs of every supported family, and models of them with weights that make each part matter."""

import dataclasses

import torch
from torch import nn

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.vit import PlainViT

_PLAIN = Arch(
    blocks=(BlockSpec(2, 8, 8, 48), BlockSpec(3, 8, 16, 24), BlockSpec(1, 16, 8, 40)),
    embed_dim=24,
    num_classes=7,
    img_size=24,
    patch_size=8,
)

# DINOv3's positions: whole heads, and heads that kept some pairs of channels
_ROTARY = dataclasses.replace(_PLAIN, rope_dim=16, blocks=(BlockSpec(2, 16, 8, 48), BlockSpec(3, 8, 16, 24)))
FAMILIES: dict[str, Arch] = {
    "token": _PLAIN,
    "avg": dataclasses.replace(_PLAIN, global_pool="avg", final_norm="after_pool", num_prefix_tokens=0),
    "avg_before": dataclasses.replace(_PLAIN, global_pool="avg", num_prefix_tokens=1),
    "dist": dataclasses.replace(_PLAIN, global_pool="dist", num_prefix_tokens=2),
    "token_avg": dataclasses.replace(_PLAIN, global_pool="token_avg", num_prefix_tokens=3),
    "dist_after": dataclasses.replace(_PLAIN, global_pool="dist", num_prefix_tokens=2, final_norm="after_pool"),
    "registers": dataclasses.replace(_PLAIN, num_prefix_tokens=5),
    "registers_avg": dataclasses.replace(_PLAIN, global_pool="avg", final_norm="after_pool", num_prefix_tokens=4),
    "no_qkv_bias": dataclasses.replace(_PLAIN, qkv_bias=False),
    "pre_norm": dataclasses.replace(_PLAIN, pre_norm=True, norm_eps=1e-5),
    "no_final_norm": dataclasses.replace(_PLAIN, final_norm="none"),
    "pre_norm_no_final": dataclasses.replace(_PLAIN, pre_norm=True, final_norm="none", global_pool="avg"),
    "rmsnorm": dataclasses.replace(_PLAIN, norm="rmsnorm"),
    "rmsnorm_no_bias": dataclasses.replace(_PLAIN, norm="rmsnorm", qkv_bias=False, pre_norm=True),
    "quick_gelu": dataclasses.replace(_PLAIN, act="quick_gelu"),
    "gelu_tanh": dataclasses.replace(_PLAIN, act="gelu_tanh"),
    "relu": dataclasses.replace(_PLAIN, act="relu"),
    "dropped_branches": dataclasses.replace(_PLAIN, blocks=(BlockSpec(2, 8, 8, 0), BlockSpec(0, 0, 0, 32))),
    "dropped_blocks": dataclasses.replace(_PLAIN, blocks=(EMPTY_BLOCK, _PLAIN.blocks[0], EMPTY_BLOCK)),
    "rotary": dataclasses.replace(_ROTARY, global_pool="avg", num_prefix_tokens=3),
    "rotary_token": dataclasses.replace(_ROTARY, num_prefix_tokens=5, qkv_bias=False),
    "no_blocks": dataclasses.replace(_PLAIN, blocks=()),
}

DENSE = dataclasses.replace(_PLAIN, global_pool="patches", num_prefix_tokens=2, img_size=(24, 32))
"""Answers for every patch, of an image that is not square; its graph scales the answers to the picture."""


def lively_model(arch: Arch, *, seed: int = 0, gain: float = 1.0) -> PlainViT:
    """Build a model whose norms, biases and tokens are far from their defaults.

    Args:
        arch: Its shape.
        seed: Of the weights.
        gain: Factor on everything that writes the residual stream.
    """
    generator = torch.Generator().manual_seed(seed)
    model = PlainViT(arch).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            std = max(1, value[0].numel()) ** -0.5 if value.ndim > 1 else 0.3
            nn.init.normal_(value, std=1.0 if "tokens" in name or "embed" in name else std, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value.add_(1.0)
            if any(part in name for part in ("proj", "fc2", "tokens", "pos_embed")):
                value.mul_(gain)
        for name, kept in model.named_buffers():
            if name.endswith("waves") and kept.ndim == 3:  # of heads that kept some pairs each
                kept.copy_(6.0 * torch.rand(kept.shape, generator=generator))
    return model
