"""Which directions and tokens of the residual stream the task's logits depend on.

For logits centred over the classes and random directions ξ, g = ∂⟨ξ, logits⟩/∂x gives E[g gᵀ] = E[Jᵀ J]: the
Gauss-Newton matrix of the squared logit error. It weighs errors of each branch when neurons, heads and value
channels are chosen; where the task has few classes, few directions count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of, whole_float32, with_less_at_once
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.forward import branches_of, moment
from nuwa_search.search.precision import statistics_context

SENSITIVITY_TOKENS = 2600
"""Tokens per backward pass, which bounds its memory: 40 images of 65 tokens, 13 of 197."""
TOKEN_FLOOR = 1e-2
"""Least weight of a token position relative to the mean: positions the logits ignore still steady the solve."""
METRIC_FLOOR = 1e-2
"""Share of the identity in each metric: the linearisation misses what errors do to later attention."""


@dataclass(frozen=True)
class Sensitivity:
    """Per branch (2·depth entries, absent branches included), at the stream after it.

    Args:
        metric: (2L, C, C), mean diagonal 1.
        tokens: (2L, N), mean 1.
    """

    metric: Tensor
    tokens: Tensor


def indifferent(model: PlainViT) -> Sensitivity:
    """Treat all directions and tokens alike."""
    arch, device = model.arch, next(model.parameters()).device
    count = 2 * len(arch.blocks)
    eye = torch.eye(arch.embed_dim, dtype=torch.float64, device=device)
    return Sensitivity(
        eye.expand(count, -1, -1), torch.ones(count, arch.num_tokens, dtype=torch.float64, device=device)
    )


def collect_sensitivity(
    model: PlainViT,
    split: SplitTensors,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    bf16: bool = False,
    on_images: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Average g gᵀ over the images of ``split``, with one random direction of the logits each.

    Args:
        model: Base with the task's head, float32.
        split: Images to average over.
        preprocess: Preprocessing of the base.
        seed: Seed of the random directions.
        bf16: Whether the model may run in bf16 (``statistics_context``).
        on_images: Called with images done and images in all; None for no calls.
    """

    def collect(tokens: int) -> Sensitivity:
        parts = torch.split(split.images, max(1, tokens // model.arch.num_tokens))
        return _collected(model, parts, preprocess, seed=seed, bf16=bf16, on_images=on_images)

    with whole_float32(device_of(model)):
        return with_less_at_once(collect, SENSITIVITY_TOKENS)


@torch.enable_grad()
def _collected(
    model: PlainViT,
    parts: Sequence[Tensor],
    preprocess: Preprocess,
    *,
    seed: int,
    bf16: bool,
    on_images: Callable[[int, int], None] | None,
) -> Sensitivity:
    """Add up over all parts, each of which passes at once."""
    device = device_of(model)
    flat = indifferent(model)
    metric, tokens = torch.zeros_like(flat.metric), torch.zeros_like(flat.tokens)
    generator = torch.Generator().manual_seed(seed)
    done = 0
    for part in parts:
        with torch.no_grad():
            x = model.embed(normalise(part.to(device), preprocess))
        x.requires_grad_(True)
        streams: dict[int, Tensor] = {}
        with statistics_context(device, bf16=bf16):
            for branch in branches_of(model):
                x = x + branch.writer(branch.regressors(x))
                streams[branch.index] = x
        logits = model.answer(model.pool(x))
        directions = torch.randn(logits.shape, generator=generator).to(device)
        directions = directions - directions.mean(dim=1, keepdim=True)
        gradients = torch.autograd.grad((logits * directions).sum(), list(streams.values()))
        for index, gradient in zip(streams, gradients, strict=True):
            metric[index] += moment(gradient, gradient)
            tokens[index] += gradient.double().square().sum(dim=(0, 2))
        done += len(part)
        if on_images is not None:
            on_images(done, sum(len(one) for one in parts))
    return Sensitivity(_scaled_metric(metric), _scaled_tokens(tokens))


def _scaled_metric(metric: Tensor) -> Tensor:
    mean = metric.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-300)
    eye = torch.eye(metric.shape[1], dtype=metric.dtype, device=metric.device)
    return (1 - METRIC_FLOOR) * metric / mean[:, None, None] + METRIC_FLOOR * eye


def _scaled_tokens(tokens: Tensor) -> Tensor:
    mean = tokens.mean(dim=1, keepdim=True).clamp_min(1e-300)
    floored = (tokens / mean).clamp_min(TOKEN_FLOOR)
    return floored / floored.mean(dim=1, keepdim=True)
