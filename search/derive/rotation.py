"""Cut the embedding width: rotate the residual stream onto its principal axes and keep the first.

Source: SliceGPT (arXiv 2401.15024), for ViTs. LayerNorm does not commute with a rotation, so its weight and bias
move into what reads it and its centring into what writes the stream, which leaves an RMSNorm; that does.
RMSNorm divides by the root mean square over its own width d', so readers carry sqrt(d / d') and the epsilon is
d / d' times the base's. One more scale, the share of energy kept, matches the mean size of what readers get.
"""

import dataclasses

import torch
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.derive.assemble import Tensors

EPS_TOLERANCE = 1e-6
"""Relative; an arch that went through JSON keeps its epsilon to far better than this."""


def narrow(arch: Arch, embed_dim: int) -> Arch:
    """Build ``arch`` with a narrower residual stream, ready for derivation.

    Raises:
        NuwaError: If the stream cannot be rotated: a norm before the first block or none before the head
            fixes the axes; or if ``embed_dim`` is larger than the arch's.
    """
    if not 1 <= embed_dim <= arch.embed_dim:
        raise NuwaError(f"an embed_dim of 1..{arch.embed_dim} was wanted, found {embed_dim}")
    if embed_dim == arch.embed_dim:
        return arch
    _require_rotatable(arch)
    return dataclasses.replace(
        arch,
        embed_dim=embed_dim,
        norm="rmsnorm",
        norm_eps=arch.norm_eps * arch.embed_dim / embed_dim,
        qkv_bias=arch.qkv_bias or arch.norm == "layernorm",  # norm biases end up in the readers'
    )


def is_rotated(arch: Arch, base: Arch) -> bool:
    """Whether deriving ``arch`` from ``base`` rotates the residual stream."""
    return arch.norm != base.norm or arch.embed_dim != base.embed_dim


def require_rotation(arch: Arch, base: Arch) -> None:
    """Check that ``arch`` has the norm that a rotation leaves.

    The base's own epsilon is let through too: it differs from the right one by less than itself.

    Raises:
        NuwaError: If it has another norm or epsilon or no room for the biases, or the base cannot be rotated.
    """
    _require_rotatable(base)
    right = narrow(base, arch.embed_dim) if arch.embed_dim < base.embed_dim else base
    has_eps = any(abs(arch.norm_eps - eps) <= EPS_TOLERANCE * eps for eps in (base.norm_eps, right.norm_eps))
    needs_bias = base.norm == "layernorm"
    if arch.norm != "rmsnorm" or not has_eps or (needs_bias and not arch.qkv_bias):
        raise NuwaError(
            f"embed_dim {arch.embed_dim} out of {base.embed_dim} needs norm 'rmsnorm' with norm_eps {right.norm_eps:g} "
            f"and qkv_bias, found {arch.norm!r}, {arch.norm_eps:g} and {arch.qkv_bias}",
            hint="nuwa_search.search.derive.rotation.narrow builds such an arch",
        )


def _require_rotatable(arch: Arch) -> None:
    if arch.pre_norm:
        raise NuwaError("the embedding width of a base with a norm before its first block cannot be cut")
    if arch.final_norm == "none":
        raise NuwaError("the embedding width of a base without a last norm cannot be cut")


def principal_axes(stream: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (C, C) of the stream's moment as columns, largest first, and the share of energy (C,) each holds."""
    values, vectors = torch.linalg.eigh(stream.double())
    energy = values.flip(0).clamp_min(0)
    return vectors.flip(1), energy / energy.sum()


def writer_rotation(axes: Tensor, *, arch: Arch, base: Arch) -> Tensor:
    """Map (C', C) from the base's residual stream to the subnet's, centring included."""
    rotation = axes[:, : arch.embed_dim].T
    return rotation - rotation.mean(dim=1, keepdim=True) if base.norm == "layernorm" else rotation


def unrotated(arch: Arch, base: Arch) -> Arch:
    """Build ``arch`` at the base's embedding width, with the base's norms."""
    same = {name: getattr(base, name) for name in ("embed_dim", "norm", "norm_eps", "qkv_bias")}
    return dataclasses.replace(arch, **same)


def rotate_tensors(tensors: Tensors, *, axes: Tensor, energy: Tensor, arch: Arch, base: Arch) -> Tensors:
    """Turn the tensors of a subnet at the base's embedding width into those of ``arch``.

    Args:
        tensors: State dict of the subnet, norms of the base's kind.
        axes: Principal axes (C, C) as columns.
        energy: Share of energy of each.
        arch: What to make.
        base: Arch of the base.
    """
    kept = axes[:, : arch.embed_dim]
    writer = writer_rotation(axes, arch=arch, base=base)
    gain = float(energy[: arch.embed_dim].sum().sqrt()) * (base.embed_dim / arch.embed_dim) ** 0.5
    out: Tensors = dict(tensors)
    for name in ("prefix_tokens", "pos_embed"):
        out[name] = tensors[name].double() @ writer.T
    patch = tensors["patch_embed.proj.weight"].double()
    out["patch_embed.proj.weight"] = torch.einsum("kc,cxyz->kxyz", writer, patch)
    out["patch_embed.proj.bias"] = writer @ tensors["patch_embed.proj.bias"].double()
    for name in tensors:
        part = name.removesuffix(".weight")
        if name.endswith((".attn.proj.weight", ".mlp.fc2.weight")):
            out[name] = writer @ tensors[name].double()
            out[f"{part}.bias"] = writer @ tensors[f"{part}.bias"].double()
        elif name.endswith((".attn.qkv.weight", ".mlp.fc1.weight")):
            norm = part.replace("attn.qkv", "norm1").replace("mlp.fc1", "norm2")
            _fold_reader(out, tensors, part, norm, kept * gain, copies=1)
    last = "norm" if base.final_norm == "before_pool" else "fc_norm"
    _fold_reader(out, tensors, "head", last, kept * gain, copies=base.head_in_features // base.embed_dim)
    return {name: value.float().contiguous() for name, value in out.items()}


def _fold_reader(out: Tensors, tensors: Tensors, reader: str, norm: str, axes: Tensor, *, copies: int) -> None:
    """Move a norm's weight and bias into the linear map behind it and turn its input by ``axes`` (C, C')."""
    weight = tensors[f"{reader}.weight"].double()
    shift = tensors.get(f"{norm}.bias")
    if shift is not None:
        offset = weight @ shift.double().repeat(copies)
        bias = tensors.get(f"{reader}.bias")
        out[f"{reader}.bias"] = offset if bias is None else bias.double() + offset
        out.pop(f"{norm}.bias")
    scaled = weight * tensors[f"{norm}.weight"].double().repeat(copies)
    split = scaled.reshape(len(weight), copies, -1)
    out[f"{reader}.weight"] = (split @ axes).flatten(1)
    out[f"{norm}.weight"] = torch.ones(axes.shape[1], dtype=torch.float64, device=axes.device)
