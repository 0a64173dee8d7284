"""Accuracy and loss of a model on a split, shared by fine-tuning and base training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors, logits_of
from nuwa_search.deploy.train.processes import Processes

TOP_K = 5


@dataclass(frozen=True)
class SplitScore:
    """What a model scored on a split.

    Args:
        top1: Fraction, not percent.
        top5: Fraction; None with five classes or fewer.
        loss: Mean cross-entropy.
    """

    top1: float
    top5: float | None
    loss: float

    def beats(self, other: "SplitScore") -> bool:
        """Whether this is better: more images right, or as many with a lower loss."""
        return (self.top1, -self.loss) > (other.top1, -other.loss)


def score_split(
    model: nn.Module, split: SplitTensors, preprocess: Preprocess, *, processes: Processes | None = None
) -> SplitScore:
    """Score a model in FP32 and evaluation mode; its mode is put back afterwards.

    Args:
        model: Images (B, 3, S, S) to logits (B, C).
        split: On the model's device.
        preprocess: Of the model.
        processes: Where given, each process runs its share of the images and all get the same score.
    """
    crew = processes or Processes()
    was_training = model.training
    model.eval()
    mine = torch.arange(crew.rank, len(split), crew.count, device=split.images.device)
    logits = logits_of(model, split.images[mine], preprocess)
    model.train(was_training)
    sums = crew.sum(_sums(logits, split.labels[mine])) / len(split)
    top1, top5, loss = (float(v) for v in sums)
    return SplitScore(top1, top5 if logits.shape[1] > TOP_K else None, loss)


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    ranked = logits.topk(min(TOP_K, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([ranked[:, 0].sum(), ranked.any(dim=1).sum(), loss]).double()
