"""Turn a uniform plain ViT back into timm's, so that a base of ours can be trained and stored as timm's."""

from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import json_from_img_size
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.base_config import ModelArgs

CARRIER = "vit_tiny_patch16_224"
"""Any plain timm ViT: every dimension is overridden."""
OF_THE_CARRIER = ("tag", "license", "hf_hub_id", "url", "origin_url", "paper_ids", "paper_name", "label_names")
"""Entries of timm's ``pretrained_cfg`` that tell where the carrier's own weights are from."""
TIMM_NORM_EPS = 1e-6


def timm_args(arch: Arch) -> dict[str, int | float | bool | str | list[int]]:
    """Return the ``timm.create_model`` arguments of a uniform arch.

    Raises:
        NuwaError: If timm's VisionTransformer has no such shape; the reason is named.
    """
    block = arch.blocks[0]
    head_dim = arch.embed_dim / max(block.num_heads, 1)
    reasons = [
        (len(set(arch.blocks)) > 1, "its blocks differ"),
        (not (block.has_attn and block.has_mlp), "a branch is gone"),
        (not block.qk_dim == block.v_dim == head_dim, "its heads do not fill the width"),
        (arch.global_pool in ("dist", "token_avg"), "its head reads two tokens"),
        (arch.norm != "layernorm", f"its norm is {arch.norm}"),
        (arch.norm_eps != TIMM_NORM_EPS, f"the eps of its norms is {arch.norm_eps:g}"),
        (arch.final_norm == "none", "it has no final norm"),
        (arch.act != "gelu", f"its activation is {arch.act}"),
        (arch.rope_dim > 0, "its positions are rotary"),
    ]
    for is_so, reason in reasons:
        if is_so:
            raise NuwaError(f"timm's VisionTransformer cannot hold this ViT: {reason}")
    return {
        "img_size": json_from_img_size(arch.img_size),
        "patch_size": arch.patch_size,
        "in_chans": arch.in_chans,
        "embed_dim": arch.embed_dim,
        "depth": arch.depth,
        "num_heads": block.num_heads,
        "mlp_ratio": block.mlp_width / arch.embed_dim,
        "qkv_bias": arch.qkv_bias,
        "global_pool": arch.global_pool,
        "class_token": arch.num_prefix_tokens > 0,
        "reg_tokens": max(arch.num_prefix_tokens - 1, 0),
        "no_embed_class": True,
        "pre_norm": arch.pre_norm,
        "fc_norm": arch.final_norm == "after_pool",
    }


def timm_from_plain(vit: PlainViT, *, drop_path: float = 0.0, num_classes: int | None = None) -> nn.Module:
    """Build timm's VisionTransformer with the weights of ``vit``; outputs agree to rounding.

    Args:
        vit: The plain ViT.
        drop_path: Rate of stochastic depth in training.
        num_classes: 0 leaves the head out; None keeps it.

    Raises:
        NuwaError: If timm's VisionTransformer has no such shape.
    """
    args: ModelArgs = timm_args(vit.arch)
    outputs = vit.arch.num_classes if num_classes is None else num_classes
    model: nn.Module = timm.create_model(CARRIER, num_classes=outputs, drop_path_rate=drop_path, **args)
    carrier: dict[str, Any] = dict(cast(Any, model).pretrained_cfg)
    tensors = {k: v.detach().clone() for k, v in vit.state_dict().items()}
    if not outputs:
        tensors = {key: value for key, value in tensors.items() if not key.startswith("head.")}
    prefix: Tensor = tensors.pop("prefix_tokens")
    if vit.arch.num_prefix_tokens > 0:
        tensors["cls_token"] = prefix[:, :1]
    if vit.arch.num_prefix_tokens > 1:
        tensors["reg_token"] = prefix[:, 1:]
    if vit.arch.pre_norm:
        # timm leaves the patch bias out where a norm follows; a shared shift can live in the positions
        tensors["pos_embed"] = tensors["pos_embed"] + tensors.pop("patch_embed.proj.bias")
    cast(Any, model).pretrained_cfg = {k: v for k, v in carrier.items() if k not in OF_THE_CARRIER}
    with torch.no_grad():
        model.load_state_dict(tensors)
    return model
