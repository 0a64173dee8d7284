"""Turn timm's DINOv3 (its ``Eva`` with rotary positions and plain MLPs) into a plain ViT, or refuse by name.

LayerScale is folded into the projections. Weights of rotary positions there are none: they are computed from the grid.
"""

from typing import Any

import torch
from timm.layers import LayerNorm, Mlp, PatchEmbed
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import Tensor, nn

from nuwa_search.core.arch import Arch, BlockSpec, FinalNorm
from nuwa_search.core.img_size import img_size_of
from nuwa_search.core.pooling import NO_HEAD_CLASSES
from nuwa_search.core.timm_parts import act_of, refused, scale_writer
from nuwa_search.core.vit import PlainViT


def plain_from_eva(model: Eva, *, name: str) -> PlainViT:
    """Copy a DINOv3 into ``PlainViT``; outputs agree to rounding in evaluation mode.

    Raises:
        NuwaError: If it is another net of timm's ``Eva`` family; the reason is named.
    """
    require_dinov3(model, name)
    arch = _arch_of(model, name)
    plain = PlainViT(arch)
    plain.load_state_dict(_tensors_of(model, arch))
    return plain.eval()


def require_dinov3(model: Eva, name: str) -> None:
    """Refuse what is no DINOv3 with plain MLPs; weights are not looked at.

    Raises:
        NuwaError: With the first part that differs.
    """
    rope = model.rope
    if type(rope) is not RotaryEmbeddingDinoV3:
        found = "absolute positions" if rope is None else type(rope).__name__
        raise refused(name, f"it is an Eva with {found}, not with DINOv3's rotary positions")
    is_usual = rope.rotate_half and rope.temperature is not None and rope.min_period is None
    if not is_usual or rope.grid_offset or rope.grid_indexing != "ij" or rope.normalize_coords != "separate":
        raise refused(name, "its rotary positions are laid out in another way than DINOv3's")
    if type(model.patch_embed) is not PatchEmbed or type(model.patch_embed.norm) is not nn.Identity:
        raise refused(name, "its stem makes more than plain patches")
    if model.global_pool not in ("token", "avg"):
        raise refused(name, f"it pools by {model.global_pool!r}")
    grid, patch = model.patch_embed.grid_size, model.patch_embed.patch_size
    if grid is None or patch[0] != patch[1]:
        raise refused(name, f"its patches are not square (grid {grid}, patch {patch})")
    for block in model.blocks:
        _require_supported_block(block, name)


def _require_supported_block(block: nn.Module, name: str) -> None:
    if type(block) is not EvaBlock:
        raise refused(name, f"its blocks are {type(block).__name__}")
    parts: Any = block
    attn, mlp = parts.attn, parts.mlp
    if type(mlp) is not Mlp:
        raise refused(name, f"its MLPs are gated ({type(mlp).__name__})")
    if not isinstance(mlp.norm, nn.Identity):
        raise refused(name, "its MLPs are normalised inside")
    if type(attn) is not EvaAttention or attn.qkv is None:
        raise refused(name, f"its attention is {type(attn).__name__} with separate projections")
    if not isinstance(attn.q_norm, nn.Identity):
        raise refused(name, "it normalises queries and keys (qk-norm)")
    if not isinstance(attn.norm, nn.Identity) or attn.gate is not None:
        raise refused(name, "its attention output is normalised or gated")
    for norm in (parts.norm1, parts.norm2):
        if not isinstance(norm, nn.LayerNorm):
            raise refused(name, f"its norm is {type(norm).__name__}")


def _arch_of(vit: Eva, name: str) -> Arch:
    first = vit.blocks[0]
    final: FinalNorm = "none"
    if isinstance(vit.norm, LayerNorm):
        final = "before_pool"
    elif isinstance(vit.fc_norm, LayerNorm):
        final = "after_pool"
    return Arch(
        blocks=tuple(
            BlockSpec(b.attn.num_heads, b.attn.head_dim, b.attn.head_dim, b.mlp.fc1.out_features) for b in vit.blocks
        ),
        embed_dim=vit.embed_dim,
        num_classes=vit.head.out_features if isinstance(vit.head, nn.Linear) else NO_HEAD_CLASSES,
        img_size=img_size_of(*vit.patch_embed.img_size),
        patch_size=vit.patch_embed.patch_size[0],
        in_chans=vit.in_chans,
        num_prefix_tokens=vit.num_prefix_tokens,
        global_pool="avg" if vit.global_pool == "avg" else "token",
        qkv_bias=first.attn.q_bias is not None,
        norm_eps=first.norm1.eps,
        pre_norm=isinstance(vit.norm_pre, nn.LayerNorm),
        final_norm=final,
        act=act_of(first.mlp, name),
        rope_dim=vit.rope.dim,
        rope_temperature=vit.rope.temperature,
    )


@torch.no_grad()
def _tensors_of(vit: Eva, arch: Arch) -> dict[str, Tensor]:
    source = {k: v.detach().float() for k, v in vit.state_dict().items()}
    out = {k: v for k, v in source.items() if k.split(".")[0] in ("norm", "fc_norm", "norm_pre", "head")}
    out["patch_embed.proj.weight"] = source["patch_embed.proj.weight"]
    out["patch_embed.proj.bias"] = source.get("patch_embed.proj.bias", torch.zeros(arch.embed_dim))
    tokens = [source[k] for k in ("cls_token", "reg_token") if k in source]
    prefix = torch.cat(tokens, dim=1) if tokens else torch.zeros(1, 0, arch.embed_dim)
    pos = source.get("pos_embed", torch.zeros(1, arch.num_patches, arch.embed_dim))
    if pos.shape[1] == arch.num_tokens:
        prefix, pos = prefix + pos[:, : arch.num_prefix_tokens], pos[:, arch.num_prefix_tokens :]
    out["prefix_tokens"], out["pos_embed"] = prefix, pos
    for i, block in enumerate(vit.blocks):
        for part in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            for kind in ("weight", "bias"):
                key = f"blocks.{i}.{part}.{kind}"
                if key in source:
                    out[key] = source[key]
        if arch.qkv_bias:
            query, value = source[f"blocks.{i}.attn.q_bias"], source[f"blocks.{i}.attn.v_bias"]
            out[f"blocks.{i}.attn.qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
        scale_writer(out, f"blocks.{i}.attn.proj", block.gamma_1, width=arch.embed_dim)
        scale_writer(out, f"blocks.{i}.mlp.fc2", block.gamma_2, width=arch.embed_dim)
    if not isinstance(vit.head, nn.Linear):
        out["head.weight"] = torch.zeros(NO_HEAD_CLASSES, arch.head_in_features)
        out["head.bias"] = torch.zeros(NO_HEAD_CLASSES)
    return out
