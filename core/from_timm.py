"""Turn timm's VisionTransformer, its distilled sibling and its DINOv3 into a plain ViT, or refuse by name.

LayerScale is folded into the projections, the position embeddings of prefix tokens into the tokens,
and the two heads of a distilled DeiT into one over both tokens, so the plain module computes the same
function with fewer parts.
"""

import timm
import torch
from timm.layers import Attention, LayerScale, Mlp, PatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import Block as TimmBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from nuwa_search.core.arch import Arch, BlockSpec, FinalNorm, GlobalPool
from nuwa_search.core.from_eva import plain_from_eva, require_dinov3
from nuwa_search.core.img_size import img_size_of
from nuwa_search.core.pooling import NO_HEAD_CLASSES
from nuwa_search.core.timm_parts import act_of, refused, scale_writer
from nuwa_search.core.vit import PlainViT

VIT_MODULES = ("vision_transformer", "deit", "eva")
"""timm's files that define ``VisionTransformer``, its distilled sibling, and ``Eva``, which DINOv3 is one of."""


def require_vit_name(timm_name: str) -> None:
    """Refuse a timm model of another family before its weights are fetched.

    Raises:
        NuwaError: If timm defines it outside its plain ViTs, or as an ``Eva`` that is no DINOv3 with plain MLPs.
    """
    module = timm.model_entrypoint(timm_name).__module__.rpartition(".")[2]
    if module not in VIT_MODULES:
        raise refused(timm_name, f"timm has it in {module}, not among its plain ViTs")
    if module == "eva":
        with torch.device("meta"):  # its file holds many families: what it is, is asked of the net itself
            require_dinov3(timm.create_model(timm_name, pretrained=False), timm_name)


def known_vit_names() -> list[str]:
    """List the timm models that may be bases, by name alone."""
    plain: list[str] = timm.list_models(module="vision_transformer") + timm.list_models(module="deit")
    return plain + [name for name in timm.list_models("*dinov3*", module="eva") if not _is_gated(name)]


def _is_gated(name: str) -> bool:
    return "_plus_" in name or "_7b_" in name


def plain_from_timm(model: nn.Module, *, name: str) -> PlainViT:
    """Copy a timm model into ``PlainViT``; outputs agree to rounding in evaluation mode.

    A model without a classifier (``num_classes=0``) gets a stand-in head of zeros; its features are what counts.

    Args:
        model: The timm model.
        name: What to call it in messages.

    Raises:
        NuwaError: If the model is no ViT of the supported kinds; the reason is named.
    """
    if type(model) is Eva:
        return plain_from_eva(model, name=name)
    if type(model) not in (VisionTransformer, VisionTransformerDistilled):
        raise refused(name, f"it is a {type(model).__name__}")
    vit: VisionTransformer = model
    _require_supported(vit, name)
    arch = _arch_of(vit, name)
    plain = PlainViT(arch)
    plain.load_state_dict(_tensors_of(vit, arch))
    return plain.eval()


def _require_supported(model: VisionTransformer, name: str) -> None:
    if type(model.patch_embed) is not PatchEmbed:
        raise refused(name, f"its stem is a {type(model.patch_embed).__name__}, wanted plain patches")
    if type(model.patch_embed.norm) is not nn.Identity:
        raise refused(name, "it normalises patch embeddings")
    if model.global_pool not in ("token", "avg") or model.attn_pool is not None or model.pool_include_prefix:
        raise refused(name, f"it pools by {model.global_pool!r}")
    if not isinstance(model.head, nn.Linear | nn.Identity):
        raise refused(name, f"its head is a {type(model.head).__name__}")
    grid, patch = model.patch_embed.grid_size, model.patch_embed.patch_size
    if grid is None or patch[0] != patch[1]:
        raise refused(name, f"its patches are not square (grid {grid}, patch {patch})")
    for block in model.blocks:
        _require_supported_block(block, name)


def _require_supported_block(block: TimmBlock, name: str) -> None:
    if type(block) is not TimmBlock:
        raise refused(name, f"its blocks are {type(block).__name__}")
    attn, mlp = block.attn, block.mlp
    if type(attn) is not Attention:
        raise refused(name, f"its attention is {type(attn).__name__}")
    if not isinstance(attn.q_norm, nn.Identity):
        raise refused(name, "it normalises queries and keys (qk-norm)")
    if not isinstance(attn.norm, nn.Identity) or attn.gate is not None:
        raise refused(name, "its attention output is normalised or gated")
    if type(mlp) is not Mlp or not isinstance(mlp.norm, nn.Identity):
        raise refused(name, f"its MLP is {type(mlp).__name__}, or normalised inside")
    for norm in (block.norm1, block.norm2):
        if not isinstance(norm, nn.LayerNorm):
            raise refused(name, f"its norm is {type(norm).__name__}")


def _arch_of(vit: VisionTransformer, name: str) -> Arch:
    blocks = tuple(
        BlockSpec(b.attn.num_heads, b.attn.head_dim, b.attn.head_dim, b.mlp.fc1.out_features) for b in vit.blocks
    )
    first = vit.blocks[0]
    norm, fc_norm = vit.norm, vit.fc_norm
    final: FinalNorm = "none"
    if isinstance(norm, nn.LayerNorm):
        final = "before_pool"
    elif isinstance(fc_norm, nn.LayerNorm):
        final = "after_pool"
    pool: GlobalPool = "avg" if vit.global_pool == "avg" else "token"
    return Arch(
        blocks=blocks,
        embed_dim=vit.embed_dim,
        num_classes=vit.head.out_features if isinstance(vit.head, nn.Linear) else NO_HEAD_CLASSES,
        img_size=img_size_of(*vit.patch_embed.img_size),
        patch_size=vit.patch_embed.patch_size[0],
        in_chans=vit.in_chans,
        num_prefix_tokens=vit.num_prefix_tokens,
        global_pool="dist" if isinstance(vit, VisionTransformerDistilled) else pool,
        qkv_bias=first.attn.qkv.bias is not None,
        norm_eps=first.norm1.eps,
        pre_norm=isinstance(vit.norm_pre, nn.LayerNorm),
        final_norm=final,
        act=act_of(first.mlp, name),
    )


@torch.no_grad()
def _tensors_of(vit: VisionTransformer, arch: Arch) -> dict[str, Tensor]:
    source = {k: v.detach().float() for k, v in vit.state_dict().items()}
    out = {k: v for k, v in source.items() if k.split(".")[0] in ("norm", "fc_norm", "norm_pre", "head")}
    out["patch_embed.proj.weight"] = source["patch_embed.proj.weight"]
    bias = source.get("patch_embed.proj.bias")
    out["patch_embed.proj.bias"] = torch.zeros(arch.embed_dim) if bias is None else bias

    tokens = [source[k] for k in ("cls_token", "dist_token", "reg_token") if k in source]
    prefix = torch.cat(tokens, dim=1) if tokens else torch.zeros(1, 0, arch.embed_dim)
    pos = source.get("pos_embed", torch.zeros(1, arch.num_patches, arch.embed_dim))
    if pos.shape[1] == arch.num_tokens:
        prefix, pos = prefix + pos[:, : arch.num_prefix_tokens], pos[:, arch.num_prefix_tokens :]
    out["prefix_tokens"], out["pos_embed"] = prefix, pos

    for i, block in enumerate(vit.blocks):
        parts = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        for part in parts:
            for kind in ("weight", "bias"):
                key = f"blocks.{i}.{part}.{kind}"
                if key in source:
                    out[key] = source[key]
        for writer, scale in (("attn.proj", block.ls1), ("mlp.fc2", block.ls2)):
            gamma = scale.gamma if isinstance(scale, LayerScale) else None
            scale_writer(out, f"blocks.{i}.{writer}", gamma, width=arch.embed_dim)
        out.setdefault(f"blocks.{i}.mlp.fc1.bias", torch.zeros(arch.blocks[i].mlp_width))
    if not isinstance(vit.head, nn.Linear):
        out["head.weight"] = torch.zeros(NO_HEAD_CLASSES, arch.head_in_features)
        out["head.bias"] = torch.zeros(NO_HEAD_CLASSES)
    elif arch.global_pool == "dist":
        out["head.weight"] = torch.cat([source["head.weight"], source["head_dist.weight"]], dim=1) / 2
        out["head.bias"] = (source["head.bias"] + source["head_dist.bias"]) / 2
    return out
