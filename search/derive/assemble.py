"""Put tensors together into a plain ViT without drawing random weights first."""

import torch
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.vit import PlainViT

Tensors = dict[str, Tensor]


def assemble(arch: Arch, tensors: Tensors) -> PlainViT:
    """Build ``PlainViT(arch)`` in evaluation mode, on their device, around ``tensors``; they become its parameters."""
    with torch.device("meta"):
        model = PlainViT(arch)
    model.load_state_dict(tensors, assign=True)
    device = tensors["prefix_tokens"].device  # what is no state, such as places of rotary positions, follows
    return model.to(device).requires_grad_(True).eval()


def trunk_tensors(model: PlainViT) -> Tensors:
    """Copy everything outside the blocks, float32."""
    state = model.state_dict()
    return {name: value.detach().float().clone() for name, value in state.items() if not name.startswith("blocks.")}
