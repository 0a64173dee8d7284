"""Targets of a student's loss: classes of images, or of pixels."""

from typing import Protocol

from timm.loss import SoftTargetCrossEntropy
from torch import Tensor

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.metric import Metric
from nuwa_search.core.tasks.label_maps import FINE, class_shares, pixel_rows, upsampled
from nuwa_search.core.tasks.pixel_weights import pixel_weights
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.deploy.train.augment import mix_targets, moved_masks
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.losses import distil_kl, smooth_targets
from nuwa_search.deploy.train.views import View

RARITY = 0.125
"""Power of a class's share of the pixels that its pixels' weights in the loss are divided by, as in ``patch_head``."""


class Targets(Protocol):
    """Turns logits into losses, for the images at some indices under a view."""

    def hard(self, logits: Tensor, view: View, indices: Tensor) -> Tensor:
        """Return the cross-entropy to the labels."""
        ...

    def soft(self, logits: Tensor, said: Tensor, view: View, indices: Tensor, *, temperature: float) -> Tensor:
        """Return T² · KL(teacher ‖ student) for the same images.

        Args:
            logits: (B, C), or of patches (B, C, h, w), of the student.
            said: Of the same shape, of the teacher.
            view: Random choices for all N images of the split.
            indices: (B,) int64 places of the images in the split.
            temperature: T.
        """
        ...


def targets_of(train: SplitTensors, config: FinetuneConfig, *, num_classes: int, metric: Metric) -> Targets:
    """Choose the targets that the training images have: classes of images, or masks.

    Args:
        train: Training split.
        config: Recipe; smoothing and mixing are read.
        num_classes: C.
        metric: Every class weighs alike in the loss of images where it is ``balanced``.

    Raises:
        NuwaError: If images with masks were to be mixed, or augmented by more than masks can follow.
    """
    if train.masks is None:
        return ImageTargets(train.labels, config, num_classes=num_classes, metric=metric)
    if config.mixup or config.cutmix or config.augment.rand_ops:
        raise NuwaError(
            "images with masks cannot be mixed or distorted: their masks do not follow",
            hint="set mixup, cutmix and rand_ops to 0",
        )
    return PixelTargets(train.masks, num_classes=num_classes)


class ImageTargets:
    """A class for each image.

    Args:
        labels: (N,) of the whole split.
        config: Recipe; its label smoothing is read.
        num_classes: C.
        metric: Every class weighs alike where it is ``balanced``.
    """

    def __init__(self, labels: Tensor, config: FinetuneConfig, *, num_classes: int, metric: Metric) -> None:
        self._targets = smooth_targets(labels, num_classes, config.label_smoothing)
        self._weights = image_weights(labels, metric).float()[:, None] if metric == "balanced" else None
        self._soft_cross_entropy = SoftTargetCrossEntropy()

    def hard(self, logits: Tensor, view: View, indices: Tensor) -> Tensor:
        """Return the cross-entropy to soft targets, mean over images, weighted where weights are given."""
        targets, weights = mix_targets(self._targets, view, indices), self._weights_of(view, indices)
        if weights is None:
            loss: Tensor = self._soft_cross_entropy(logits, targets)
            return loss
        return (weights * -(targets * logits.log_softmax(dim=1)).sum(dim=1)).mean()

    def soft(self, logits: Tensor, said: Tensor, view: View, indices: Tensor, *, temperature: float) -> Tensor:
        return distil_kl(logits, said, temperature, weights=self._weights_of(view, indices))

    def _weights_of(self, view: View, indices: Tensor) -> Tensor | None:
        # a mixed image weighs as much as its two are mixed in
        return None if self._weights is None else mix_targets(self._weights, view, indices)[:, 0]


class PixelTargets:
    """A class for each pixel.

    Args:
        masks: (N, H, W) uint8 of the whole split.
        num_classes: C.
    """

    def __init__(self, masks: Tensor, *, num_classes: int) -> None:
        self._masks, self._num_classes = masks, num_classes
        self._weights = pixel_weights(masks, num_classes, RARITY).to(masks.device)

    def hard(self, logits: Tensor, view: View, indices: Tensor) -> Tensor:
        """Return the cross-entropy, mean over pixels that are not ignored, each class weighted by its rarity.

        Of logits (B, C, h, w), scaled to ``FINE`` cells a patch.
        """
        grid = (FINE * logits.shape[-2], FINE * logits.shape[-1])
        shares = self._shares(view, indices, grid) * self._weights[:, None, None]
        logs = upsampled(logits, grid).log_softmax(dim=1)
        return -(shares * logs).sum() / shares.sum().clamp_min(1e-6)

    def soft(self, logits: Tensor, said: Tensor, view: View, indices: Tensor, *, temperature: float) -> Tensor:
        """Return T² · KL(teacher ‖ student), mean over patches.

        Args:
            logits: (B, C, h, w) of the student.
            said: (B, C, h, w) of the teacher, for the same view of the same images.
            view: Not used.
            indices: Not used.
            temperature: T.
        """
        del view, indices  # the teacher saw the same view, and speaks of every patch
        return distil_kl(pixel_rows(logits), pixel_rows(said), temperature)

    def _shares(self, view: View, indices: Tensor, grid: tuple[int, int]) -> Tensor:
        masks = moved_masks(self._masks[indices], view.take(indices))
        return class_shares(masks, num_classes=self._num_classes, grid=grid)
