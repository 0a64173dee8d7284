"""Accuracy and loss of a model on a split, shared by fine-tuning and base training."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.accelerator import device_of
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import TOP_K, image_batches, logits_of, normalise
from nuwa_search.core.metric import Metric
from nuwa_search.core.proportion import mean_share_interval, said_share, wilson_interval
from nuwa_search.core.tasks.label_maps import class_shares
from nuwa_search.core.tasks.pixel_scores import PixelScores, PixelTally
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.deploy.train.processes import Processes

PIXEL_BATCH = 32
"""Images whose masks are scored at once: maps of logits take memory that labels do not."""


@dataclass(frozen=True)
class SplitScore:
    """What a model scored on a split.

    Args:
        top1: Fraction, not percent; None where pixels have classes.
        top5: Fraction; None with five classes or fewer.
        loss: Mean cross-entropy; every class weighs alike where ``balanced`` counts.
        num_images: They were taken on; 0 in records of before it was kept.
        balanced: Mean recall over the classes, where that is what counts; None where ``top1`` does.
        balanced_interval: 95 % interval of it.
        miou: Mean IoU over the classes, where pixels have classes; None where images do.
        miou_interval: 95 % interval of it.
        pixel_accuracy: Share of pixels answered right, there.
    """

    top1: float | None
    top5: float | None
    loss: float
    num_images: int = 0
    balanced: float | None = None
    balanced_interval: tuple[float, float] | None = None
    miou: float | None = None
    miou_interval: tuple[float, float] | None = None
    pixel_accuracy: float | None = None

    @property
    def metric(self) -> Metric:
        """Which accuracy counts."""
        if self.miou is not None:
            return "miou"
        return "top1" if self.balanced is None else "balanced"

    @property
    def accuracy(self) -> float:
        """The accuracy that counts."""
        return next(value for value in (self.miou, self.balanced, self.top1, 0.0) if value is not None)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of ``accuracy``."""
        known = self.miou_interval or self.balanced_interval
        return known or wilson_interval(round(self.accuracy * self.num_images), self.num_images)

    @property
    def merit(self) -> tuple[float, float]:
        """Higher is better: the accuracy that counts, then lower loss."""
        return self.accuracy, -self.loss

    @property
    def said(self) -> str:
        """The accuracy that counts, for people: ``93.1 % (90.2-95.4, 256 images)``."""
        told: dict[Metric, str] = {"top1": "", "balanced": " balanced", "miou": " mIoU"}
        return said_share(self.accuracy, self.interval, self.num_images) + told[self.metric]

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
        model: Images (B, 3, H, W) to logits (B, C), or of patches (B, C, h, w).
        split: On the model's device.
        preprocess: Of the model.
        processes: Where given, each process runs its share of the images and all get the same score.
        metric: Which accuracy counts.
    """
    crew = processes or Processes()
    was_training = model.training
    model.eval()
    mine = torch.arange(crew.rank, len(split), crew.count, device=split.images.device)
    if split.masks is not None:
        scored = score_pixels(model, split, preprocess, mine=mine, crew=crew)
        model.train(was_training)
        return scored
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


@torch.inference_mode()
def score_pixels(
    model: nn.Module, split: SplitTensors, preprocess: Preprocess, *, mine: Tensor, crew: Processes
) -> SplitScore:
    """Score pixels: mIoU at each mask's own size, and the cross-entropy to the classes' shares of the patches.

    Args:
        model: Images to logits of patches (B, C, h, w).
        split: With masks.
        preprocess: Of the model.
        mine: Images that this process runs.
        crew: All processes.
    """
    part = split.take(mine.cpu()) if split.images.device.type == "cpu" else split.take(mine)
    tally, loss, seen = tally_pixels(model, part, preprocess)
    found = tally.scores()
    counts = torch.zeros(3, len(split), found.hits.shape[1], dtype=torch.float64, device=split.images.device)
    for k, values in enumerate((found.hits, found.truths, found.answers)):
        counts[k, mine] = torch.from_numpy(values).to(counts)
    totals = crew.sum(torch.cat([counts.flatten(), torch.tensor([loss, seen]).to(counts)]))
    whole = totals[:-2].view_as(counts).round().long().cpu().numpy()
    return _score_of_pixels(PixelScores(*whole), float(totals[-2]), float(totals[-1]))


@torch.inference_mode()
def tally_pixels(model: nn.Module, split: SplitTensors, preprocess: Preprocess) -> tuple[PixelTally, float, float]:
    """Run a split with masks through ``model`` and count its pixels at each mask's own size.

    Returns:
        As ``tally_maps``.
    """
    parts = image_batches(split.images, PIXEL_BATCH)
    device = device_of(model)
    return tally_maps((model(normalise(part.to(device), preprocess)).float() for part in parts), split)


def tally_maps(maps: Iterable[Tensor], split: SplitTensors) -> tuple[PixelTally, float, float]:
    """Count the pixels of logits (B, C, h, w), a few images at a time, at each mask's own size.

    Returns:
        The counts, the sum of the cross-entropies of patches to the classes' shares, and the sum of these shares.

    Raises:
        NuwaError: If the split has no masks.
    """
    if split.masks is None or split.truths is None:
        raise NuwaError("pixels are scored against masks, and these images have none")
    tally: PixelTally | None = None
    loss = seen = 0.0
    done = 0
    for logits in maps:
        tally = tally or PixelTally(logits.shape[1])
        for place, one in enumerate(logits):
            tally.add(one, split.truths.label_map(done + place))
        few = split.masks[done : done + len(logits)].to(logits.device)
        shares = class_shares(few, num_classes=logits.shape[1], grid=(logits.shape[-2], logits.shape[-1]))
        loss -= float((shares * logits.log_softmax(dim=1)).sum())
        seen += float(shares.sum())
        done += len(logits)
    return tally or PixelTally(0), loss, seen


def score_known(logits: Tensor, split: SplitTensors, *, metric: Metric = "top1") -> SplitScore:
    """Score logits (N, num_classes) of a whole split, or of its patches (N, num_classes, h, w)."""
    if split.masks is None:
        return score_logits(logits, split.labels, metric=metric)
    tally, loss, seen = tally_maps(torch.split(logits.to(split.labels.device), PIXEL_BATCH), split)
    return _score_of_pixels(tally.scores(), loss, seen)


def _score_of_pixels(scores: PixelScores, loss: float, seen: float) -> SplitScore:
    return SplitScore(
        top1=None,
        top5=None,
        loss=loss / max(seen, 1e-12),
        num_images=scores.num_images,
        miou=scores.miou,
        miou_interval=scores.miou_interval,
        pixel_accuracy=scores.pixel_accuracy,
    )


def _sums(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Images right, right among the best five, weighted loss, and images right by class: (3 + C,), double."""
    ranked = logits.topk(min(TOP_K, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
    hits = torch.bincount(labels[ranked[:, 0]], minlength=logits.shape[1])
    return torch.cat([torch.stack([ranked[:, 0].sum(), ranked.any(dim=1).sum(), loss]).double(), hits.double()])
