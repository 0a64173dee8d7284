"""Torch-Pruning (PyPI `torch-pruning`) on the supplied base, cut to a MAC budget without training afterwards.

Its L2 and Taylor importances, uniform ratios over layers or isomorphic groups, heads' widths and MLPs; with and
without the residual stream among the pruned dimensions. Softmax keeps the scale of the unpruned heads, which spares
Torch-Pruning an error its own ViT example makes.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import timm
import torch
import torch_pruning as tp
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_macs
from nuwa_search.core.from_timm import plain_from_timm
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT

Importance = Literal["l2", "taylor"]
BISECTIONS = 9
TAYLOR_BATCH = 50


def restricted_timm(folder: Path, classes: tuple[int, ...]) -> VisionTransformer:
    """Load the base through timm and keep the head's rows of ``classes``."""
    model: VisionTransformer = timm.create_model(f"local-dir:{folder}", pretrained=True)
    head = nn.Linear(model.head.in_features, len(classes))
    with torch.no_grad():
        head.weight.copy_(model.head.weight[list(classes)])
        head.bias.copy_(model.head.bias[list(classes)])
    model.head, model.num_classes = head, len(classes)
    model.eval()
    return model


def taylor_gradients(model: VisionTransformer, split: SplitTensors, preprocess: Preprocess) -> dict[str, torch.Tensor]:
    """Gradients of the summed cross-entropy over ``split``, by parameter name."""
    model.zero_grad()
    batches = zip(torch.split(split.images, TAYLOR_BATCH), torch.split(split.labels, TAYLOR_BATCH), strict=True)
    for images, labels in batches:
        loss = F.cross_entropy(model(normalise(images, preprocess)), labels, reduction="sum")
        torch.autograd.backward(loss)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def prune_to(
    model: VisionTransformer,
    max_macs: int,
    *,
    importance: Importance,
    gradients: dict[str, torch.Tensor],
    with_stream: bool,
    isomorphic: bool = False,
) -> PlainViT:
    """Find the smallest ratio that meets ``max_macs`` by bisection; arguments as of ``prune_until``."""
    return prune_until(
        model,
        lambda arch: count_macs(arch) <= max_macs,
        importance=importance,
        gradients=gradients,
        with_stream=with_stream,
        isomorphic=isomorphic,
    )


def prune_until(
    model: VisionTransformer,
    fits: Callable[[Arch], bool],
    *,
    importance: Importance,
    gradients: dict[str, torch.Tensor],
    with_stream: bool,
    isomorphic: bool = False,
) -> PlainViT:
    """Find the smallest ratio whose net fits by bisection.

    Args:
        model: The whole net.
        fits: Whether a shape keeps the budget.
        importance: What channels are ranked by.
        gradients: By parameter name, for ``taylor``.
        with_stream: Whether the residual stream is cut too.
        isomorphic: Rank channels of all layers of one shape together (Isomorphic Pruning, arXiv 2407.04616)
            instead of cutting every layer by the same ratio.
    """
    low, high = 0.0, 0.97
    best: PlainViT | None = None
    for _ in range(BISECTIONS):
        ratio = (low + high) / 2
        pruned = _prune(
            model, ratio, importance=importance, gradients=gradients, with_stream=with_stream, isomorphic=isomorphic
        )
        if pruned is not None and fits(pruned.arch):
            best, high = pruned, ratio
        else:
            low = ratio
    if best is None:
        raise ValueError(f"no ratio up to {high} keeps the budget")
    return best


def _prune(
    model: VisionTransformer,
    ratio: float,
    *,
    importance: Importance,
    gradients: dict[str, torch.Tensor],
    with_stream: bool,
    isomorphic: bool,
) -> PlainViT | None:
    net = copy.deepcopy(model)
    for name, parameter in net.named_parameters():
        parameter.grad = gradients[name].clone() if name in gradients else None
    heads = {block.attn.qkv: block.attn.num_heads for block in net.blocks}
    old_dim = net.blocks[0].attn.head_dim
    for block in net.blocks:
        block.attn.fused_attn = False  # the tracer sees through plain operators only
    ignored: list[nn.Module] = [net.head]
    if not with_stream:
        ignored.append(net.patch_embed.proj)
        ignored += [layer for block in net.blocks for layer in (block.attn.proj, block.mlp.fc2)]
    score = tp.importance.GroupMagnitudeImportance(p=2) if importance == "l2" else tp.importance.GroupTaylorImportance()
    pruner = tp.pruner.BasePruner(
        net,
        torch.zeros(1, 3, *model.patch_embed.img_size),
        importance=score,
        pruning_ratio=ratio,
        global_pruning=isomorphic,
        isomorphic=isomorphic,
        ignored_layers=ignored,
        num_heads=heads,
        prune_head_dims=True,
        round_to=None,
    )
    pruner.step()
    with torch.no_grad():
        for block in net.blocks:
            attn = block.attn
            attn.num_heads = pruner.num_heads[attn.qkv]
            attn.attn_dim = attn.qkv.out_features // 3
            attn.head_dim = attn.attn_dim // attn.num_heads
            if attn.head_dim == 0 or block.mlp.fc1.out_features == 0:
                return None
            scale = (attn.head_dim / old_dim) ** 0.5
            attn.qkv.weight[: attn.attn_dim] *= scale
            attn.qkv.bias[: attn.attn_dim] *= scale
    net.embed_dim = net.num_features = net.patch_embed.proj.out_channels
    return plain_from_timm(net, name="torch-pruning")
