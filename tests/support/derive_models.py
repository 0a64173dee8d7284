"""Small ViTs of every supported family, with weights far from their initial values."""

import dataclasses
from functools import partial
from typing import Any

import torch
from timm.layers import LayerNorm
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.from_timm import plain_from_timm
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT

SHAPE: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 2.0,
    "num_classes": 5,
}
FAMILIES: dict[str, dict[str, Any] | None] = {
    "token": {},
    "avg": {"global_pool": "avg"},
    "avg_no_class_token": {"global_pool": "avg", "class_token": False},
    "layer_scale": {"init_values": 0.3},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "no_qkv_bias": {"qkv_bias": False},
    "pre_norm": {"pre_norm": True},
    "distilled": None,
    "token_avg": {"reg_tokens": 1, "no_embed_class": True},
    "rotary": {"num_reg_tokens": 2, "qkv_bias": True},
    "rotary_no_qkv_bias": {"num_reg_tokens": 1, "qkv_bias": False, "global_pool": "token"},
}
DINOV3: dict[str, Any] = {
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "use_fc_norm": False,
    "init_values": 0.3,
    "norm_layer": partial(LayerNorm, eps=1e-5),
}
"""What timm's ``vit_small_patch16_dinov3`` sets beside its sizes, with a LayerScale that leaves the blocks a say."""
PREPROCESS = Preprocess(img_size=16)


def make_model(family: str, *, seed: int = 0) -> PlainViT:
    torch.manual_seed(seed)
    timm_model = _timm_model(family)
    with torch.no_grad():
        for name, value in timm_model.named_parameters():
            if value.ndim == 1 or "token" in name or "pos" in name:
                value.add_(0.3 * torch.randn_like(value))  # biases and norms of a trained net are not 0 and 1
            else:
                value.add_(torch.randn_like(value) / value[0].numel() ** 0.5)
    plain = plain_from_timm(timm_model.eval(), name=family)
    return with_joined_pool(plain) if family == "token_avg" else plain


def _timm_model(family: str) -> torch.nn.Module:
    extra = FAMILIES[family]
    if extra is None:
        model: torch.nn.Module = VisionTransformerDistilled(**SHAPE)
    elif family.startswith("rotary"):
        model = Eva(**SHAPE, **DINOV3, **extra)
    else:
        model = VisionTransformer(**SHAPE, **extra)
    return model


def with_joined_pool(model: PlainViT) -> PlainViT:
    """The same ViT with DINOv2's classifier: its head reads the class token beside the mean of the patches."""
    out = PlainViT(dataclasses.replace(model.arch, global_pool="token_avg"))
    head = torch.randn(model.arch.num_classes, out.arch.head_in_features) / model.arch.embed_dim**0.5
    out.load_state_dict(model.state_dict() | {"head.weight": head})
    return out.eval()


def make_split(count: int = 60, *, seed: int = 1, num_classes: int = 5) -> SplitTensors:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=16, mode="bilinear")
    return SplitTensors((images * 255).to(torch.uint8), torch.arange(count) % num_classes)


def with_blocks(arch: Arch, **widths: int) -> Arch:
    return dataclasses.replace(arch, blocks=tuple(dataclasses.replace(b, **widths) for b in arch.blocks))


def with_block(arch: Arch, index: int, block: BlockSpec) -> Arch:
    blocks = list(arch.blocks)
    blocks[index] = block
    return dataclasses.replace(arch, blocks=tuple(blocks))
