"""The default base: a ViT-S/14 at 224 pixels, taken once out of the ONNX graph that a package ships."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nuwa_search.core.arch import arch_from_dict, dict_from_arch
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.demo_packages import BASE_PACKAGE, demo_path, pinned_path
from nuwa_search.core.vit import PlainViT

IMPORT_VERSION = 1
"""Of how the graph is read; raise it when that gives other tensors."""
IMG_SIZE = 224
"""Of the graph's own input in pixels; its positions are stored for 518."""
_ARCH = "arch"


def demo_base_model(cache_dir: Path | None) -> PlainViT:
    """Return the ViT of the pinned graph at the size of its stored positions (518 pixels), without a head.

    The first call reads the graph, proves the ViT against it on ONNX Runtime (seconds) and keeps the tensors.

    Args:
        cache_dir: Where they are kept; may be deleted at any time. None keeps nothing.

    Raises:
        NuwaError: If the package is not installed, or holds another graph.
    """
    key = content_key(BASE_PACKAGE.sha256, IMPORT_VERSION)
    tensors = dict(_imported() if cache_dir is None else Cache(cache_dir / "base").get("onnx", key, _imported))
    arch = arch_from_dict(json.loads(tensors.pop(_ARCH).numpy().tobytes()))
    model = PlainViT(arch)
    model.load_state_dict(tensors)
    return model.eval()


def demo_base_facts() -> dict[str, str | int | float | None]:
    """Return what ``nuwa base ls`` shows of it, without reading the graph.

    Raises:
        NuwaError: If its package is not installed.
    """
    size_mb = round(demo_path(BASE_PACKAGE).stat().st_size / 1e6, 1)
    return {"architecture": "vit_small_patch14_dinov2", "classes": None, "img_size": IMG_SIZE, "size_mb": size_mb}


def _imported() -> dict[str, Tensor]:
    from nuwa_search.core.from_onnx import vit_from_onnx  # loads onnx and ONNX Runtime, once

    found = vit_from_onnx(pinned_path(BASE_PACKAGE)).model
    text = json.dumps(dict_from_arch(found.arch)).encode()
    return found.state_dict() | {_ARCH: torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())}
