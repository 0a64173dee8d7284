"""Build a plain ViT from tensors sorted by role, whatever library named them."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of
from nuwa_search.core.arch import Activation, Arch, BlockSpec, GlobalPool
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, grid_of, img_size_of
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.pooling import NO_HEAD_CLASSES
from nuwa_search.core.positions import Grid
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_names import missing_roles


@dataclass(frozen=True)
class VitFacts:
    """What a plain ViT's tensors do not say.

    Args:
        num_heads: Attention heads of every block.
        norm_eps: Epsilon of its norms.
        act: Activation of its MLPs.
        pool: What its head reads.
        rope_temperature: Of DINOv3's rotary positions; 0 where positions are tensors.
        img_size: Of the images that its positions are for: no tensor says it where they are rotary, or are of no
            square. None for the square that the stored ones cover.
    """

    num_heads: int
    norm_eps: float
    act: Activation = "gelu"
    pool: GlobalPool = "token"
    rope_temperature: float = 0.0
    img_size: ImgSize | None = None


@torch.no_grad()
def plain_from_roles(roles: Mapping[str, Tensor], facts: VitFacts, *, name: str) -> PlainViT:
    """Copy tensors into ``PlainViT``, LayerScale folded into the projections; without a head it gets a zero one.

    Args:
        roles: Tensors by role (``vit_names``), linear weights (out, in).
        facts: What the tensors do not say.
        name: What to call the base in messages.

    Raises:
        NuwaError: If a tensor is missing or its shape contradicts the others; it is named.
    """
    numbers = {int(found[1]) for role in roles if (found := re.match(r"blocks\.(\d+)\.", role))}
    depth = max(numbers, default=-1) + 1
    missing = missing_roles(roles, depth)
    if not depth or missing:
        raise NuwaError(
            f"base {name!r} is no plain ViT: it has no {missing[0] if missing else 'transformer blocks'}",
            hint="supported: ViT, DeiT, DINOv2 (with or without registers), DINOv3, in timm's or transformers' layout",
        )
    try:
        tensors, arch = _collect(roles, facts, depth)
        model = PlainViT(arch)
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise NuwaError(
            f"base {name!r}: its tensors do not fit together: {str(error).splitlines()[-1].strip()}",
            hint="its config must describe its weights: heads, sizes and depth",
        ) from error
    return model.eval()


def _collect(roles: Mapping[str, Tensor], facts: VitFacts, depth: int) -> tuple[dict[str, Tensor], Arch]:
    get = {role: tensor.detach().float() for role, tensor in roles.items()}
    patch = get["patch.weight"]
    dim = len(patch)
    if dim % facts.num_heads:
        raise ValueError(f"{facts.num_heads} heads do not divide a width of {dim}")
    if facts.rope_temperature:
        if "positions" in get:
            raise ValueError("positions are rotary, and it has others too")
        rows, columns = grid_of(facts.img_size or 0, patch.shape[-1])
        get["positions"] = torch.zeros(1, rows * columns, dim)
    # of a square the stored positions know best: many configs name the size of their images, not of their positions
    given = grid_of(facts.img_size, patch.shape[-1]) if isinstance(facts.img_size, tuple) else None
    prefix, positions, (rows, columns) = _tokens(get, dim, given)
    blocks = {i: _block(get, i, dim) for i in range(depth)}
    head_dim = dim // facts.num_heads
    arch = Arch(
        blocks=tuple(
            BlockSpec(facts.num_heads, head_dim, head_dim, len(blocks[i]["mlp.fc1.bias"])) for i in range(depth)
        ),
        embed_dim=dim,
        num_classes=len(get["head.bias"]) if "head.bias" in get else NO_HEAD_CLASSES,
        img_size=img_size_of(rows * patch.shape[-1], columns * patch.shape[-1]),
        patch_size=patch.shape[-1],
        in_chans=patch.shape[1],
        num_prefix_tokens=prefix.shape[1],
        global_pool="dist" if "head_dist.weight" in get else facts.pool,
        qkv_bias=any(f"blocks.0.{part}.bias" in get for part in ("qkv", "q")),
        norm_eps=facts.norm_eps,
        final_norm="before_pool" if "norm.weight" in get else "none",
        act=facts.act,
        rope_dim=head_dim if facts.rope_temperature else 0,
        rope_temperature=facts.rope_temperature or 100.0,
    )
    tensors = {f"blocks.{i}.{key}": value for i, block in blocks.items() for key, value in block.items()}
    tensors |= {
        "patch_embed.proj.weight": patch,
        "patch_embed.proj.bias": get.get("patch.bias", torch.zeros(dim)),
        "prefix_tokens": prefix,
        "pos_embed": positions,
        **_head(get, arch),
    }
    tensors |= {f"norm.{kind}": get[f"norm.{kind}"] for kind in ("weight", "bias") if f"norm.{kind}" in get}
    return tensors, arch


def _tokens(get: Mapping[str, Tensor], dim: int, given: Grid | None) -> tuple[Tensor, Tensor, Grid]:
    """Prefix tokens (1, P, C) with their positions added, patch positions (1, n, C), and their grid.

    ``given`` is the grid where it is no square; None finds the square.
    """
    tokens = [get[role].reshape(1, -1, dim) for role in ("cls", "dist", "registers") if role in get]
    prefix = torch.cat(tokens, dim=1) if tokens else torch.zeros(1, 0, dim)
    positions = get["positions"].reshape(1, -1, dim)
    without_registers = prefix.shape[1] - (get["registers"].reshape(1, -1, dim).shape[1] if "registers" in get else 0)
    for count in dict.fromkeys((without_registers, prefix.shape[1], 0)):  # DINOv2's registers have no positions
        left = positions.shape[1] - count
        side = math.isqrt(max(0, left))
        grid = given or (side, side)
        if left > 0 and grid[0] * grid[1] == left:
            prefix[:, :count] += positions[:, :count]
            return prefix, positions[:, count:], grid
    wanted = "no square grid" if given is None else f"no grid of {given[0]} x {given[1]}"
    raise ValueError(f"{positions.shape[1]} positions fit {wanted} beside {prefix.shape[1]} tokens before it")


def _block(get: Mapping[str, Tensor], i: int, dim: int) -> dict[str, Tensor]:
    def of(part: str) -> Tensor:
        return get[f"blocks.{i}.{part}"]

    out = {f"{norm}.{kind}": of(f"{norm}.{kind}") for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
    if f"blocks.{i}.qkv.weight" in get:
        out["attn.qkv.weight"] = of("qkv.weight")
        if f"blocks.{i}.qkv.bias" in get:
            out["attn.qkv.bias"] = of("qkv.bias")
    else:
        out["attn.qkv.weight"] = torch.cat([of(f"{part}.weight") for part in "qkv"])
        if f"blocks.{i}.q.bias" in get:
            biases = [get.get(f"blocks.{i}.{part}.bias", torch.zeros(dim)) for part in "qkv"]  # some have no key bias
            out["attn.qkv.bias"] = torch.cat(biases)
    out["mlp.fc1.weight"] = of("fc1.weight")
    out["mlp.fc1.bias"] = get.get(f"blocks.{i}.fc1.bias", torch.zeros(len(of("fc1.weight"))))
    for part, target, scale in (("proj", "attn.proj", "ls1"), ("fc2", "mlp.fc2", "ls2")):
        gamma = get.get(f"blocks.{i}.{scale}", torch.ones(dim))
        out[f"{target}.weight"] = of(f"{part}.weight") * gamma[:, None]
        out[f"{target}.bias"] = get.get(f"blocks.{i}.{part}.bias", torch.zeros(dim)) * gamma
    return out


def _head(get: Mapping[str, Tensor], arch: Arch) -> dict[str, Tensor]:
    if "head.weight" not in get:
        features = arch.head_in_features
        return {"head.weight": torch.zeros(NO_HEAD_CLASSES, features), "head.bias": torch.zeros(NO_HEAD_CLASSES)}
    weight, bias = get["head.weight"], get["head.bias"]
    if "head_dist.weight" in get:
        weight = torch.cat([weight, get["head_dist.weight"]], dim=1) / 2
        bias = (bias + get["head_dist.bias"]) / 2
    return {"head.weight": weight, "head.bias": bias}


def with_positions(model: PlainViT, positions: Tensor, *, img_size: ImgSize) -> PlainViT:
    """Copy ``model`` to another image size, on its device, with patch positions (1, n, C) of its grid given.

    Raises:
        NuwaError: If the patch does not divide the size.
    """
    arch = dataclasses.replace(model.arch, img_size=img_size)
    out = PlainViT(arch)
    out.load_state_dict(model.state_dict() | {"pos_embed": positions})
    return out.to(device_of(model)).eval()
