"""What the readers of timm's ViTs share: how they refuse, and how they read activations and LayerScale."""

from typing import get_args

import torch
from timm.layers import GELU, GELUTanh, Mlp, QuickGELU
from torch import Tensor, nn

from nuwa_search.core.arch import Activation
from nuwa_search.core.errors import NuwaError

SUPPORTED = (
    "timm's VisionTransformer and VisionTransformerDistilled with absolute positions, and its Eva as DINOv3 has it "
    "(rotary positions, plain MLPs)"
)


def refused(name: str, reason: str) -> NuwaError:
    """Build the refusal of base ``name``."""
    return NuwaError(f"base {name!r} is not supported: {reason}", hint=f"supported: {SUPPORTED}")


def act_of(mlp: Mlp, name: str) -> Activation:
    """Read the activation of an MLP.

    Raises:
        NuwaError: If it is none of the known ones.
    """
    act = mlp.act
    if isinstance(act, nn.GELU | GELU):
        kind: Activation = "gelu_tanh" if getattr(act, "approximate", "none") == "tanh" else "gelu"
    elif isinstance(act, GELUTanh):
        kind = "gelu_tanh"
    elif isinstance(act, QuickGELU):
        kind = "quick_gelu"
    elif isinstance(act, nn.ReLU):
        kind = "relu"
    else:
        raise refused(name, f"its activation is {type(act).__name__}, known: {', '.join(get_args(Activation))}")
    return kind


def scale_writer(tensors: dict[str, Tensor], key: str, gamma: Tensor | None, *, width: int) -> None:
    """Fold a LayerScale (width,) into the linear map ``key``, which gets a bias if it had none.

    Args:
        tensors: A base's tensors by name; changed in place.
        key: Name of the linear map, without ``.weight``.
        gamma: The scale (width,); None scales by 1.
        width: Of the residual stream.
    """
    factor = torch.ones(width) if gamma is None else gamma.detach().float()
    tensors[f"{key}.weight"] = tensors[f"{key}.weight"] * factor[:, None]
    tensors[f"{key}.bias"] = tensors.get(f"{key}.bias", torch.zeros(width)) * factor
