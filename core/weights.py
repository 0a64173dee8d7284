"""Plain tensors on disk: safetensors in, safetensors out, and their content hash."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import PlainViT


def save_weights(model: PlainViT, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the model's tensors; parent folders must exist."""
    save_file({k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Raises:
        NuwaError: If the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise NuwaError(
            f"no weights at {path}", hint="copy the folder again: arch.json and model.safetensors belong together"
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise NuwaError(f"weights {path} cannot be read: {error}", hint="fetch or copy the file again") from error


def load_vit(arch: Arch, path: Path) -> PlainViT:
    """Build ``PlainViT(arch)`` in FP32 and evaluation mode with the weights of ``path``.

    Raises:
        NuwaError: If the file cannot be read or its tensors have other names or shapes.
    """
    model = PlainViT(arch)
    tensors = {k: v.float() for k, v in read_tensors(path).items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise NuwaError(
            f"weights {path} do not fit arch {arch.arch_id}: {str(error).splitlines()[-1].strip()}",
            hint="copy the folder again: arch.json and model.safetensors belong together",
        ) from error
    return model.eval()


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and bytes of tensors: 16 hex digits of SHA-256."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]
