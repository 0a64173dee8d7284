"""What the sub-models said of a split, and how well answers made of it are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.tasks.masks import Masks
from nuwa_search.core.tasks.pixel_scores import Interval, PixelScores, PixelTally
from nuwa_search.deploy.collaborate.npz import Floats


@dataclass(frozen=True)
class ImagesRight:
    """How images that have classes were answered.

    Args:
        is_right: (B,) share of the ways to answer with which each image is answered right: 0 or 1 where there is one.
    """

    is_right: Floats

    miou = None
    """Pixels have no class here."""
    miou_interval = None

    @property
    def top1(self) -> float:
        return float(self.is_right.astype(np.float64).mean())

    @property
    def top1_interval(self) -> Interval:
        """95 % interval (Wilson)."""
        return wilson_interval(round(self.top1 * self.num_images), self.num_images)

    @property
    def accuracy(self) -> float:
        """The accuracy that counts."""
        return self.top1

    @property
    def num_images(self) -> int:
        return len(self.is_right)


@dataclass(frozen=True, eq=False)
class PixelsRight:
    """How pixels that have classes were answered.

    Args:
        scores: Counts of each image, summed over the ways to answer.
    """

    scores: PixelScores

    top1 = None
    """Images have no class here."""
    top1_interval = None

    @property
    def miou(self) -> float:
        return self.scores.miou

    @property
    def miou_interval(self) -> Interval:
        """95 % interval (bootstrap over images)."""
        return self.scores.miou_interval

    @property
    def accuracy(self) -> float:
        """The accuracy that counts."""
        return self.miou

    @property
    def num_images(self) -> int:
        return self.scores.num_images


Rightness = ImagesRight | PixelsRight


def ahead_by(ours: Rightness, theirs: Rightness) -> tuple[float, float, float]:
    """How much more accurate one is on the same images, with the paired 95 % interval: middle, low, high.

    Raises:
        NuwaError: If one is of images and the other of pixels.
    """
    if isinstance(ours, ImagesRight) and isinstance(theirs, ImagesRight):
        differences = ours.is_right.astype(np.float64) - theirs.is_right
        return float(differences.mean()), *bootstrap_interval(differences)
    if isinstance(ours, PixelsRight) and isinstance(theirs, PixelsRight):
        return ours.scores.ahead_of(theirs.scores)
    raise NuwaError("accuracies of images and of pixels cannot be compared")


@dataclass(frozen=True)
class SeenPixels:
    """The masks of a split whose patches were seen.

    Args:
        truths: Masks of its images at their own size.
        grid: Patches of an image one below the other, and side by side.
    """

    truths: Masks
    grid: tuple[int, int]

    def scored(self, ways: Sequence[Floats]) -> PixelsRight:
        """Count the pixels of ways to answer, each logits (B · P, C), at each mask's own size."""
        num_images, num_classes = len(self.truths), ways[0].shape[1]
        maps = [
            torch.from_numpy(way).reshape(num_images, -1, num_classes).transpose(1, 2).unflatten(2, self.grid)
            for way in ways
        ]
        tallies = [PixelTally(num_classes) for _ in ways]
        for place in range(num_images):
            truth = self.truths.label_map(place)
            for tally, one in zip(tallies, maps, strict=True):
                tally.add(one[place], truth)
        counts = [tally.scores() for tally in tallies]
        return PixelsRight(
            PixelScores(
                hits=np.sum([one.hits for one in counts], axis=0),
                truths=np.sum([one.truths for one in counts], axis=0),
                answers=np.sum([one.answers for one in counts], axis=0),
            )
        )


@dataclass(frozen=True)
class Seen:
    """Outputs of the sub-models on a split.

    Args:
        vectors: (B, d_i) of each, or where pixels have classes scores of every patch (B · P, C), image by image.
        labels: (B,).
        pixels: The split's masks; None where images have classes.
    """

    vectors: tuple[Floats, ...]
    labels: npt.NDArray[np.int64]
    pixels: SeenPixels | None = None

    def scored(self, ways: Sequence[Floats]) -> Rightness:
        """Score ways to answer, each logits (B, C) or (B · P, C): the mean over them."""
        if self.pixels is not None:
            return self.pixels.scored(ways)
        right = [way.argmax(axis=1) == self.labels for way in ways]
        return ImagesRight(np.asarray(np.mean(right, axis=0, dtype=np.float64), np.float32))
