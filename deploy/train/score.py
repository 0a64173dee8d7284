"""Accuracy and loss of a model on a split, shared by fine-tuning and base training."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.images import Preprocess
from nuwa_search.core.metric import Metric
from nuwa_search.core.proportion import mean_share_interval, said_share, wilson_interval
from nuwa_search.core.tensors import SplitTensors, logits_of
from nuwa_search.deploy.train.processes import Processes

TOP_K = 5


@dataclass(frozen=True)
class SplitScore:
    """What a model scored on a split.

    Args:
        top1: Fraction, not percent.
        top5: Fraction; None with five classes or fewer.
        loss: Mean cross-entropy; every class weighs alike where ``balanced`` counts.
        num_images: They were taken on; 0 in records of before it was kept.
        balanced: Mean recall over the classes, where that is what counts; None where ``top1`` does.
        balanced_interval: 95 % interval of it.
    """

    top1: float
    top5: float | None
    loss: float
    num_images: int = 0
    balanced: float | None = None
    balanced_interval: tuple[float, float] | None = None

    @property
    def accuracy(self) -> float:
        """The accuracy that counts."""
        return self.top1 if self.balanced is None else self.balanced

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of ``accuracy``."""
        if self.balanced_interval is not None:
            return self.balanced_interval
        return wilson_interval(round(self.top1 * self.num_images), self.num_images)

    @property
    def merit(self) -> tuple[float, float]:
        """Higher is better: the accuracy that counts, then lower loss."""
        return self.accuracy, -self.loss

    @property
    def said(self) -> str:
        """The accuracy that counts, for people: ``93.1 % (90.2-95.4, 256 images)``."""
        return said_share(self.accuracy, self.interval, self.num_images) + (
            "" if self.balanced is None else " balanced"
        )

    def beats(self, other: "SplitScore") -> bool:
        """Whether this is better: more accurate, or as accurate with a lower loss."""
        return self.merit > other.merit


def score_split(
    model: nn.Module,
    split: SplitTensors,
    preprocess: Preprocess,
    *,
    processes: Processes | None = None,
    metric: Metric = "top1",
) -> SplitScore:
    """Score a model in FP32 and evaluation mode; its mode is put back afterwards.

    Args:
        model: Images (B, 3, S, S) to logits (B, C).
        split: On the model's device.
        preprocess: Of the model.
        processes: Where given, each process runs its share of the images and all get the same score.
        metric: Which accuracy counts.
    """
    crew = processes or Processes()
    was_training = model.training
    model.eval()
    mine = torch.arange(crew.rank, len(split), crew.count, device=split.images.device)
    logits = logits_of(model, split.images[mine], preprocess)
    model.train(was_training)
    sums = crew.sum(_sums(logits, split.labels[mine], image_weights(split.labels, metric)[mine]))
    return _score_of(sums, split.labels, num_classes=logits.shape[1], metric=metric)


def score_logits(logits: Tensor, labels: Tensor, *, metric: Metric = "top1") -> SplitScore:
    """Score logits (N, num_classes) of a whole split with labels (N,)."""
    sums = _sums(logits.to(labels.device), labels, image_weights(labels, metric))
    return _score_of(sums, labels, num_classes=logits.shape[1], metric=metric)


def _score_of(sums: Tensor, labels: Tensor, *, num_classes: int, metric: Metric) -> SplitScore:
    """Make a score of the sums (3 + C,) over a whole split."""
    top1, top5, loss = (float(v) / len(labels) for v in sums[:3])
    score = SplitScore(top1, top5 if num_classes > TOP_K else None, loss, len(labels))
    if metric == "top1":
        return score
    hits = [round(v) for v in sums[3:].tolist()]
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    recalls = [hit / count for hit, count in zip(hits, counts, strict=True) if count]
    return dataclasses.replace(
        score, balanced=sum(recalls) / len(recalls), balanced_interval=mean_share_interval(hits, counts)
    )


def _sums(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Images right, right among the best five, weighted loss, and images right by class: (3 + C,), double."""
    ranked = logits.topk(min(TOP_K, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
    hits = torch.bincount(labels[ranked[:, 0]], minlength=logits.shape[1])
    return torch.cat([torch.stack([ranked[:, 0].sum(), ranked.any(dim=1).sum(), loss]).double(), hits.double()])
