"""Fold a trained plain ViT into the tensors of its graph; the function stays the same."""

import numpy as np
from torch import nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.images import Preprocess
from nuwa_search.core.vit import Block, PlainViT
from nuwa_search.deploy.export.folded import (
    DEFAULT_STREAM_SCALE,
    FloatArray,
    FoldedAttention,
    FoldedBlock,
    FoldedMlp,
    FoldedRotary,
    FoldedViT,
    act_scales,
    has_q_bias,
    is_stream_centred,
)

Tensors = dict[str, FloatArray]


def fold_vit(
    model: PlainViT,
    *,
    opset: int,
    stream_scale: float = DEFAULT_STREAM_SCALE,
    preprocess: Preprocess | None = None,
) -> FoldedViT:
    """Fold norms, softmax scale, biases, centring and optionally normalisation into the weights.

    Args:
        model: In FP32; not changed.
        opset: Decides which constants of the activation are folded.
        stream_scale: Power of two on the residual stream.
        preprocess: Fold its mean and std into the patch embedding, so that the input is 0..1; None
            leaves the input normalised outside.
    """
    arch = model.arch
    tensors: Tensors = {k: v.detach().cpu().float().numpy() for k, v in model.state_dict().items()}
    centred = is_stream_centred(arch)
    scales = act_scales(arch.act, opset=opset)

    patch_weight = tensors["patch_embed.proj.weight"]
    patch_bias = tensors["patch_embed.proj.bias"]
    if preprocess is not None:
        std = np.asarray(preprocess.std, dtype=np.float32)[:, None, None]
        mean = np.asarray(preprocess.mean, dtype=np.float32)[:, None, None]
        patch_weight = patch_weight / std
        patch_bias = patch_bias - (patch_weight * mean).sum(axis=(1, 2, 3))
    head_weight, head_bias = _fold_head(arch, tensors, stream_scale)
    return FoldedViT(
        patch_weight=_writer(patch_weight, centred, stream_scale),
        pos_embed=_writer((tensors["pos_embed"][0] + patch_bias).T, centred, stream_scale).T,
        prefix_tokens=_writer(tensors["prefix_tokens"][0].T, centred, stream_scale).T,
        pre_norm=_fold_pre_norm(arch, tensors, stream_scale),
        blocks=tuple(
            FoldedBlock(
                _fold_attn(model, i, tensors, stream_scale) if block.has_attn else None,
                _fold_mlp(arch, tensors, f"blocks.{i}", stream_scale, scales) if block.has_mlp else None,
            )
            for i, block in enumerate(arch.blocks)
        ),
        head_weight=head_weight,
        head_bias=head_bias,
        stream_scale=stream_scale,
    )


def _writer(weight: FloatArray, centred: bool, scale: float) -> FloatArray:
    """Scale, and centre over channels (axis 0), whatever is added to the residual stream."""
    out = weight - weight.mean(axis=0, dtype=np.float64).astype(np.float32) if centred else weight
    return out * np.float32(scale)


def _norm(arch: Arch, tensors: Tensors, name: str) -> tuple[FloatArray, FloatArray]:
    weight = tensors[f"{name}.weight"]
    return weight, tensors.get(f"{name}.bias", np.zeros(arch.embed_dim, dtype=np.float32))


def _fold_pre_norm(arch: Arch, tensors: Tensors, scale: float) -> tuple[FloatArray, FloatArray | None] | None:
    if not arch.pre_norm:
        return None
    gain, shift = _norm(arch, tensors, "norm_pre")
    return gain * np.float32(scale), shift * np.float32(scale) if arch.norm == "layernorm" else None


def _fold_attn(model: PlainViT, index: int, tensors: Tensors, scale: float) -> FoldedAttention:
    arch, block, name = model.arch, model.arch.blocks[index], f"blocks.{index}"
    rotary = _fold_rotary(model.blocks[index])
    gain, shift = _norm(arch, tensors, f"{name}.norm1")
    qkv_weight = tensors[f"{name}.attn.qkv.weight"]
    bias = qkv_weight @ shift + tensors.get(f"{name}.attn.qkv.bias", np.float32(0.0))
    weight = qkv_weight * gain
    num_q = block.num_heads * block.qk_dim
    softmax_scale = np.float32(block.qk_dim**-0.5)
    proj_weight = tensors[f"{name}.attn.proj.weight"]
    proj_bias = tensors[f"{name}.attn.proj.bias"] + proj_weight @ bias[2 * num_q :]
    centred = is_stream_centred(arch)
    return FoldedAttention(
        q_weight=weight[:num_q] * softmax_scale,
        q_bias=bias[:num_q] * softmax_scale if has_q_bias(arch) else None,
        k_weight=weight[num_q : 2 * num_q],
        v_weight=weight[2 * num_q :],
        proj_weight=_writer(proj_weight, centred, scale),
        proj_bias=_writer(proj_bias, centred, scale),
        k_bias=bias[num_q : 2 * num_q] if has_q_bias(arch) and rotary is not None else None,
        rotary=rotary,
    )


def _fold_rotary(block: nn.Module) -> FoldedRotary | None:
    if not isinstance(block, Block) or block.attn is None or block.attn.rotary is None:
        return None
    return FoldedRotary(*(table.detach().cpu().numpy() for table in block.attn.rotary.turns()))


def _fold_mlp(arch: Arch, tensors: Tensors, name: str, scale: float, act_scale: tuple[float, float]) -> FoldedMlp:
    gain, shift = _norm(arch, tensors, f"{name}.norm2")
    fc1_weight, fc2_weight = tensors[f"{name}.mlp.fc1.weight"], tensors[f"{name}.mlp.fc2.weight"]
    before, after = (np.float32(s) for s in act_scale)
    centred = is_stream_centred(arch)
    return FoldedMlp(
        fc1_weight=fc1_weight * (gain * before),
        fc1_bias=(tensors[f"{name}.mlp.fc1.bias"] + fc1_weight @ shift) * before,
        fc2_weight=_writer(fc2_weight, centred, scale * float(after)),
        fc2_bias=_writer(tensors[f"{name}.mlp.fc2.bias"], centred, scale),
    )


def _fold_head(arch: Arch, tensors: Tensors, scale: float) -> tuple[FloatArray, FloatArray]:
    weight, bias = tensors["head.weight"], tensors["head.bias"]
    if arch.final_norm == "none":
        return weight / np.float32(scale), bias
    gain, shift = _norm(arch, tensors, "norm" if arch.final_norm == "before_pool" else "fc_norm")
    repeats = arch.head_in_features // arch.embed_dim  # two tokens side by side with "dist"
    return weight * np.tile(gain, repeats), bias + weight @ np.tile(shift, repeats)
