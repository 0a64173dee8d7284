"""Classifier heads for a task: rows of the base's head, or one fitted in closed form."""

import copy
import dataclasses

import torch
from torch import Tensor, nn

from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import EVAL_BATCH, SplitTensors, normalise
from nuwa_search.core.vit import PlainViT

RIDGE = 1e-2
"""Ridge relative to the mean diagonal of the features' Gram matrix."""


def with_head(model: PlainViT, weight: Tensor, bias: Tensor) -> PlainViT:
    """Copy ``model`` with another head: ``weight`` (num_classes, head_in_features), ``bias`` (num_classes,)."""
    out = copy.deepcopy(model)
    out.arch = dataclasses.replace(model.arch, num_classes=len(bias))
    out.head = nn.Linear(weight.shape[1], len(bias))
    with torch.no_grad():
        out.head.weight.copy_(weight)
        out.head.bias.copy_(bias)
    return out.eval()


def restrict_head(model: PlainViT, classes: tuple[int, ...]) -> PlainViT:
    """Keep the rows of ``classes`` only: a physically smaller head with the same logits for them."""
    rows = torch.tensor(classes)
    return with_head(model, model.head.weight.detach()[rows], model.head.bias.detach()[rows])


@torch.inference_mode()
def features_of(model: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Run (N, 3, S, S) uint8 images up to the head: (N, head_in_features)."""
    parts = [model.pool(model.forward_features(normalise(b, preprocess))) for b in torch.split(images, EVAL_BATCH)]
    return torch.cat(parts)


def fit_head(model: PlainViT, split: SplitTensors, preprocess: Preprocess, *, num_classes: int) -> PlainViT:
    """Fit a head to frozen features by ridge regression on one-hot labels, then scale it to be calibrated.

    The regression's scores lie near 0..1, far too flat for a softmax; one temperature is chosen by the
    cross-entropy on the same images so that the model can serve as a teacher.

    Args:
        model: The base; its own head is ignored.
        split: Images of the new classes, labels 0..num_classes-1.
        preprocess: Of the base.
        num_classes: Outputs of the new head.
    """
    features = features_of(model, split.images, preprocess).double()
    mean = features.mean(dim=0)
    centred = features - mean
    targets = nn.functional.one_hot(split.labels, num_classes).double()
    prior = targets.mean(dim=0)
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), centred.T @ (targets - prior)).T
    bias = prior - weight @ mean
    scores = features @ weight.T + bias
    scales = torch.logspace(0, 2, 41).double()
    losses = torch.stack([nn.functional.cross_entropy(scores * s, split.labels) for s in scales])
    scale = scales[losses.argmin()]
    return with_head(model, (weight * scale).float(), (bias * scale).float())
