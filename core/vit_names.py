"""Names that libraries give to the tensors of one and the same plain ViT, read as roles.

A role says what a tensor is: ``cls``, ``patch.weight``, ``blocks.3.q.bias``. Sources: timm 1.0
(``vision_transformer.py``), transformers 4 checkpoints of ViT, DeiT, DINOv2 (with registers too) and DINOv3, and the
names transformers 5 gives the same modules in memory.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_BLOCK = re.compile(r"^(?:.*\.)?(?:layers?|blocks)\.(\d+)\.(.+)\.(weight|bias|gamma|lambda1)$")

_BLOCK_PARTS = {
    "norm1": ("norm1", "layernorm_before", "layer_norm1"),
    "norm2": ("norm2", "layernorm_after", "layer_norm2"),
    "qkv": ("attn.qkv",),
    "q": ("attention.attention.query", "attention.query", "attention.q_proj", "self_attn.q_proj"),
    "k": ("attention.attention.key", "attention.key", "attention.k_proj", "self_attn.k_proj"),
    "v": ("attention.attention.value", "attention.value", "attention.v_proj", "self_attn.v_proj"),
    "proj": ("attn.proj", "attention.output.dense", "attention.o_proj", "self_attn.out_proj"),
    "fc1": ("mlp.fc1", "intermediate.dense", "mlp.up_proj"),
    "fc2": ("mlp.fc2", "output.dense", "mlp.down_proj"),
    "ls1": ("ls1", "layer_scale1"),
    "ls2": ("ls2", "layer_scale2"),
}
_PART_OF = {name: role for role, names in _BLOCK_PARTS.items() for name in names}

_STEM = {
    "cls": ("cls_token",),
    "dist": ("dist_token", "distillation_token"),
    "registers": ("reg_token", "register_tokens"),
    "positions": ("pos_embed", "position_embeddings"),
    "patch.weight": ("patch_embed.proj.weight", "patch_embeddings.projection.weight", "patch_embeddings.weight"),
    "patch.bias": ("patch_embed.proj.bias", "patch_embeddings.projection.bias", "patch_embeddings.bias"),
    "norm.weight": ("norm.weight", "layernorm.weight"),
    "norm.bias": ("norm.bias", "layernorm.bias"),
    "head.weight": ("head.weight", "classifier.weight", "cls_classifier.weight"),
    "head.bias": ("head.bias", "classifier.bias", "cls_classifier.bias"),
    "head_dist.weight": ("head_dist.weight", "distillation_classifier.weight"),
    "head_dist.bias": ("head_dist.bias", "distillation_classifier.bias"),
}
_STEM_OF = {name: role for role, names in _STEM.items() for name in names}

_TRAINING_ONLY = ("mask_token", "pooler.dense.weight", "pooler.dense.bias")
"""Tensors that classification never reads: the mask of pretraining, and transformers' optional pooler."""


def role_of(name: str) -> str | None:
    """Return the role of a tensor by its name; None where the name is none of a plain ViT."""
    block = _BLOCK.match(name)
    if block:
        number, part, kind = block.groups()
        role = _PART_OF.get(part)
        if role is None:
            return None
        return f"blocks.{int(number)}.{role}" if role in ("ls1", "ls2") else f"blocks.{int(number)}.{role}.{kind}"
    for known, role in _STEM_OF.items():
        if name == known or name.endswith(f".{known}"):
            return role
    return None


def roles_from_names(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Sort tensors by role.

    Args:
        tensors: By the name they were saved under, with any prefix (``vit.``, ``backbone.``).

    Returns:
        Tensors by role, and the names that are none of a plain ViT's (those only pretraining reads left out).
    """
    roles: dict[str, Tensor] = {}
    strange: list[str] = []
    for name, tensor in tensors.items():
        role = role_of(name)
        if role is None or role in roles:
            if not name.endswith(_TRAINING_ONLY):
                strange.append(name)
        else:
            roles[role] = tensor
    return roles, strange


def missing_roles(roles: Iterable[str], depth: int) -> list[str]:
    """List what a plain ViT of ``depth`` blocks needs and ``roles`` lack."""
    have = set(roles)
    needed = ["patch.weight"]
    for i in range(depth):
        needed += [f"blocks.{i}.{part}.weight" for part in ("norm1", "norm2", "proj", "fc1", "fc2")]
        if f"blocks.{i}.qkv.weight" not in have:
            needed += [f"blocks.{i}.{part}.weight" for part in "qkv"]
    return [role for role in needed if role not in have]
