"""Plain tensors on disk: safetensors in, safetensors out, and their content hash."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.vit import PlainViT

_ISFINITE_TAKES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # and not the eight-bit kinds


def save_weights(model: PlainViT, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the model's tensors; parent folders must exist."""
    save_file({k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Raises:
        NuwaError: If the file is missing, truncated or not safetensors, or holds a NaN or an infinity.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise NuwaError(
            f"no weights at {path}", hint="copy the folder again: arch.json and model.safetensors belong together"
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise NuwaError(f"weights {path} cannot be read: {error}", hint="fetch or copy the file again") from error
    require_finite(tensors, origin=f"weights {path}")
    return tensors


def require_finite(tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Refuse weights of which one is no number: every output would be none, and nothing would say so.

    Raises:
        NuwaError: With the first tensor that holds a NaN or an infinity.
    """
    for name, value in tensors.items():
        if not value.is_floating_point():
            continue
        known = torch.isfinite(value if value.dtype in _ISFINITE_TAKES else value.float())
        if not bool(known.all()):
            count = int((~known).sum())
            raise NuwaError(
                f"{origin}: {name} holds {count} values that are no finite numbers (NaN or infinity)",
                hint="take an earlier checkpoint: the training that wrote this one had diverged",
            )


def load_vit(arch: Arch, path: Path) -> PlainViT:
    """Build ``PlainViT(arch)`` in FP32 and evaluation mode with the weights of ``path``.

    Raises:
        NuwaError: If the file cannot be read or its tensors have other names or shapes.
    """
    # a copy: the file's own pages would change with the file
    tensors = {k: v.to(torch.float32, copy=True) for k, v in read_tensors(path).items()}
    try:
        with torch.device("meta"):  # sizes come from a file: memory is what the weights take, not what the arch says
            model = PlainViT(arch)
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
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
