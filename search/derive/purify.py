"""Self-knowledge purification: learn which MLP neurons the task does without.

Source: NuWa (arXiv 2504.03118), step 1. The base is frozen; each MLP has a learnable score M per hidden neuron and a
keep-rate logit β; the top e·σ(β) neurons by M pass, the others are zeroed before the down projection, and gradients
go straight through. Deviation: steps take a batch of images, not one, since a batch costs hardly more; so fewer
steps do. Decoupled weight decay alone pulls β towards 0, hence the keep rate towards one half: its strength is a real
hyper-parameter.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tasks.label_maps import class_shares
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import Mlp, PlainViT
from nuwa_search.search.derive.forward import branches_of, hidden_of

START_LOGIT = 5.0
"""β at the start: σ(5) keeps 99.3 % of the neurons (NuWa)."""
SCORE_RATE, LOGIT_RATE = 1e-3, 0.1
"""Learning rates of M and β (NuWa)."""
SCORE_DECAY = 0.05
"""Weight decay of M (NuWa)."""
BATCH = 32


class TopShare(torch.autograd.Function):
    """Binary mask of the top e·σ(β) scores; straight-through gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, logit: Tensor) -> Tensor:
        """Mask (e,) of 0 and 1."""
        keep = max(1, int(len(scores) * float(torch.sigmoid(logit))))
        mask = torch.zeros_like(scores)
        mask[scores.argsort(descending=True, stable=True)[:keep]] = 1.0
        ctx.save_for_backward(mask)
        return mask

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Hand the mask's gradient G to the scores, and ⟨mask, G⟩ to β."""
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]  # torch types the context too narrowly
        (gradient,) = grads
        return gradient, (mask * gradient).sum()


@dataclass(frozen=True)
class NeuronMask:
    """The learnable part of one MLP: ``scores`` (e,) and the keep-rate ``logit``, a scalar."""

    scores: nn.Parameter
    logit: nn.Parameter

    def binary(self) -> Tensor:
        """The present mask (e,), differentiable straight through."""
        mask = TopShare.apply(self.scores, self.logit)
        return torch.as_tensor(mask)


def new_masks(model: PlainViT) -> dict[int, NeuronMask]:
    """Make a mask per MLP, by branch index, that keeps nearly everything."""
    masks = {}
    for branch in branches_of(model):
        if isinstance(branch.body, Mlp):
            like = branch.body.fc2.weight
            scores = nn.Parameter(torch.ones(branch.body.fc2.in_features, device=like.device))
            masks[branch.index] = NeuronMask(scores, nn.Parameter(torch.tensor(START_LOGIT, device=like.device)))
    return masks


def masked_logits(model: PlainViT, masks: dict[int, NeuronMask], x: Tensor) -> Tensor:
    """Run normalised images (B, in_chans, H, W) with masked MLPs: logits (B, num_classes)."""
    x = model.embed(x)
    for branch in branches_of(model):
        if isinstance(branch.body, Mlp):
            hidden = hidden_of(branch.body, branch.norm(x)) * masks[branch.index].binary()
            x = x + branch.writer(hidden)
        else:
            x = x + branch.writer(branch.regressors(x))
    return model.answer(model.pool(x))


def learn_masks(
    model: PlainViT, split: SplitTensors, preprocess: Preprocess, *, steps: int, decay: float, seed: int = 0
) -> dict[int, NeuronMask]:
    """Learn masks by cross-entropy on the task's images; ``model`` is not changed.

    Args:
        model: The base with the task's head.
        split: Training images of the task.
        preprocess: Preprocessing of the base.
        steps: Batches of ``BATCH`` images.
        decay: Weight decay of the keep-rate logits.
        seed: Seed of the order of images.
    """
    device = next(model.parameters()).device
    frozen = copy.deepcopy(model).requires_grad_(False)
    masks = new_masks(frozen)
    optimiser = torch.optim.AdamW(
        [
            {"params": [m.scores for m in masks.values()], "lr": SCORE_RATE, "weight_decay": SCORE_DECAY},
            {"params": [m.logit for m in masks.values()], "lr": LOGIT_RATE, "weight_decay": decay},
        ]
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = split.take(torch.randint(len(split), (BATCH,), generator=generator))
        with torch.enable_grad():
            logits = masked_logits(frozen, masks, normalise(chosen.images.to(device), preprocess))
            loss = F.cross_entropy(logits, _targets(chosen, model).to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return masks


def _targets(split: SplitTensors, model: PlainViT) -> Tensor:
    """Return what logits are held against: labels (B,), or the classes' shares of each patch (B, C, h, w)."""
    if split.masks is None:
        return split.labels
    return class_shares(split.masks, num_classes=model.arch.num_classes, grid=model.arch.grid)


@torch.no_grad()
def purified(model: PlainViT, masks: dict[int, NeuronMask]) -> PlainViT:
    """Copy ``model`` with the masked neurons' down projections zeroed: the first ones any cut will take out."""
    out = copy.deepcopy(model)
    for branch in branches_of(out):
        if branch.index in masks:
            branch.writer.weight *= masks[branch.index].binary()
    return out
