"""Score a real subnet on the search split: KL to the task teacher, of images or of their patches, and top1."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.accelerator import device_of, run_in_parts
from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import ImgSize, num_pixels_of, size_words
from nuwa_search.core.known_outputs import KnownOutputs, net_key
from nuwa_search.core.logits import images_at_once, normalise, run_trimmed
from nuwa_search.core.metric import Metric
from nuwa_search.core.tensors import SplitTensors, features_key, size_of_images
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.precision import scoring_context

NUM_IMAGES = 160
"""Search images per score (256 before, at 1.6 times the price); KL on the same images ranks subnets with far fewer than
accuracy needs."""

FIRST_IMAGES = 80
"""Images after which a hopeless subnet is given up."""

LARGE_IMAGES = 96
LARGE_FIRST_IMAGES = 48
"""The same for images of more than ``FEW_TOKENS`` tokens, each of which costs as much as three to four small ones; the
study's order decides which few are refined, and those are compared image by image."""


MAP_IMAGES = 48
MAP_FIRST_IMAGES = 24
"""The same where every patch has an answer: an image then says as much as hundreds."""

PATCH_SAMPLE = 32
"""Patches of an image, drawn anew for each, whose changed logits are kept to predict nets by; scores see all. Of 256
patches most are alike, and a hundred images give thousands of rows."""


class SubnetDeriver(Protocol):
    """What the search needs of ``nuwa_search.search.derive.Deriver``."""

    def derive(self, arch: Arch) -> PlainViT:
        """Cut ``arch`` out of the base.

        Raises:
            NuwaError: If it does not fit.
        """
        ...


@dataclass(frozen=True)
class SubnetScore:
    """One subnet's figures on the search split.

    Args:
        kl: Mean KL(teacher ‖ subnet) in nats over ``num_images``; lower is better. Where balanced accuracy counts,
            the mean over the classes of each one's mean; where pixels have classes, an image's is the mean over its
            patches.
        kl_first: The same over the first images only, which every subnet sees.
        top1: Share of images whose largest logit is their label; None where pixels have classes.
        num_images: Images seen; fewer than usual when the subnet was given up.
        is_partial: Whether it was given up after the first images.
        kls: KL of each image times its weight in ``kl``, in the scorer's order, so that two subnets can be compared
            pair by pair; empty where only the mean was kept.
    """

    kl: float
    kl_first: float
    top1: float | None
    num_images: int
    is_partial: bool = False
    kls: tuple[float, ...] = field(default=(), repr=False, compare=False)


class Scorer(Protocol):
    """Anything that scores a subnet; picklable where several processes score."""

    def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
        """Score ``model``; stop after the first images where their KL exceeds ``give_up_above``."""
        ...


class TeacherScorer:
    """Scores on a fixed choice of search images against stored teacher logits.

    Args:
        teacher: Base with the task's head.
        search: The search split; never the test split.
        preprocess: Preprocessing of the base.
        num_images: Images per score, spread evenly over the classes; all if there are fewer. None is ``NUM_IMAGES``,
            ``LARGE_IMAGES`` where an image has many tokens, or ``MAP_IMAGES`` where each of them has an answer.
        seed: Seed of the choice.
        metric: Which accuracy the scores are for: ``balanced`` lets every class weigh alike in the KL.
        known: What nets gave on the task's images so far: the teacher is then run on a choice of them once.
        others: The same images in the same order at other sizes, for nets that take those; the teacher sees
            ``search``.
    """

    def __init__(
        self,
        teacher: PlainViT,
        search: SplitTensors,
        preprocess: Preprocess,
        *,
        num_images: int | None = None,
        seed: int = 0,
        metric: Metric = "top1",
        known: KnownOutputs | None = None,
        others: Sequence[SplitTensors] = (),
    ) -> None:
        if len(search) == 0:
            raise NuwaError("the search split is empty", hint="give the task more images")
        usual, self.num_first = NUM_IMAGES, FIRST_IMAGES
        if not is_small(teacher.arch):
            usual, self.num_first = LARGE_IMAGES, LARGE_FIRST_IMAGES
            if teacher.arch.is_dense:
                usual, self.num_first = MAP_IMAGES, MAP_FIRST_IMAGES
        num_images = usual if num_images is None else num_images
        chosen = spread_evenly(search.labels, num_images, seed=seed)
        picked = search.take(chosen)
        device = device_of(teacher)
        self._inputs = normalise(picked.images.to(device), preprocess)
        self._others = {
            size_of_images(split.images): normalise(split.images[chosen].to(device), preprocess) for split in others
        }
        if any(not torch.equal(split.labels, search.labels) for split in others):
            raise ValueError("images of other sizes must be those of the search split, in its order")
        self._labels = picked.labels
        self._metric = metric
        self._log_targets = self._targets_of(teacher, search, chosen, picked.content_hash, known or KnownOutputs())
        self._places: Tensor | None = None
        if teacher.arch.is_dense:
            self._places = _drawn_patches(len(self._labels), teacher.arch.num_patches, seed=seed)

    def _targets_of(
        self, teacher: PlainViT, search: SplitTensors, chosen: Tensor, content_hash: str, known: KnownOutputs
    ) -> Tensor:
        """Return log probabilities (B, C) of the teacher, from the features that its head was fitted to if there are.

        Those are of bf16 or FP32 as ``feature_arithmetic`` says; without them the teacher runs in FP32.
        """
        features = known.find(features_key(teacher, search))
        if features is not None:
            with torch.inference_mode():
                shown = features[chosen.to(features.device)].to(self._inputs.device).float()
                return F.log_softmax(teacher.answer(shown), dim=1).cpu()
        key = ("log probabilities", net_key(teacher), content_hash)
        return known.get(key, lambda: _log_probabilities(teacher, self._inputs))

    @property
    def inputs(self) -> Tensor:
        """Normalised images (B, 3, H, W), in the order they are scored in, on the teacher's device."""
        return self._inputs

    def inputs_at(self, img_size: ImgSize) -> Tensor:
        """The images as a net of another size takes them: (B, 3, H, W), normalised.

        Raises:
            NuwaError: If they were not given at that size.
        """
        own = size_of_images(self._inputs)
        found = self._inputs if img_size == own else self._others.get(img_size)
        if found is None:
            known = ", ".join(map(size_words, sorted({own, *self._others}, key=num_pixels_of)))
            raise NuwaError(f"a net takes images of {size_words(img_size)} pixels, and the scorer has them at {known}")
        return found

    def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
        first = min(self.num_first, len(self._labels))
        inputs = self.inputs_at(model.arch.img_size)
        with torch.inference_mode(), scoring_context(inputs.device):
            head = logits_in_parts(model, inputs[:first])
            started = self.score_logits(head)
            if len(self._labels) == first:
                return started
            if give_up_above is not None and not started.kl <= give_up_above:
                return SubnetScore(started.kl, started.kl, started.top1, first, is_partial=True)
            rest = logits_in_parts(model, inputs[first:])
        return self.score_logits(torch.cat([head, rest]))

    @property
    def log_targets(self) -> Tensor:
        """The teacher's log probabilities (B, C), in the order images are scored in."""
        return self._log_targets

    def rows(self, values: Tensor) -> Tensor:
        """Lay values (B, C) of the first B images out as rows: themselves, or, of maps (B, C, h, w), drawn patches'."""
        if self._places is None:
            return values
        drawn = self._places[: len(values), None].expand(-1, values.shape[1], -1)
        return values.flatten(2).gather(2, drawn).transpose(1, 2).flatten(0, 1)

    def row_weights(self, count: int) -> Tensor:
        """Return the weight of each row of the first ``count`` images in their mean KL: mean 1."""
        weights = image_weights(self._labels[:count], self._metric)
        return weights if self._places is None else weights.repeat_interleave(self._places.shape[1])

    def score_logits(self, logits: Tensor) -> SubnetScore:
        """Score logits of the first B images, on the CPU: (B, num_classes), or of patches (B, num_classes, h, w)."""
        n = len(logits)
        labels = self._labels[:n]
        rows = _kl_rows(self._log_targets[:n], logits)
        kls = rows * image_weights(labels, self._metric)
        first = rows[: self.num_first] * image_weights(labels[: self.num_first], self._metric)
        top1 = None if self._places is not None else float((logits.argmax(dim=1) == labels).double().mean())
        return SubnetScore(float(kls.mean()), float(first.mean()), top1, n, kls=tuple(kls.tolist()))


def spread_evenly(labels: Tensor, num_images: int, *, seed: int) -> Tensor:
    """Choose (at most) ``num_images`` indices, classes taking turns so that every prefix is balanced."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    seen: dict[int, int] = {}
    for index in shuffled:
        label = int(labels[index])
        turn[index] = seen.get(label, 0)
        seen[label] = turn[index] + 1
    order = sorted(shuffled, key=lambda index: (turn[index], int(labels[index])))
    return torch.from_numpy(np.asarray(order[:num_images], dtype=np.int64))


@torch.inference_mode()
def _log_probabilities(model: nn.Module, inputs: Tensor) -> Tensor:
    return F.log_softmax(logits_in_parts(model, inputs), dim=1)


def logits_in_parts(model: nn.Module, inputs: Tensor) -> Tensor:
    """Run normalised images (B, 3, H, W) a few at a time, in halves where a GPU has no memory: float32, on the CPU."""
    at_once = len(inputs) if inputs.device.type == "cuda" else images_at_once(model)
    return run_in_parts(functools.partial(_float_logits, model), inputs, at_once).cpu()


def _float_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    return run_trimmed(model, inputs).float()


def _kl_rows(log_targets: Tensor, logits: Tensor) -> Tensor:
    """KL(target ‖ softmax(logits)) of each image: (B,), double; of maps the mean over the patches."""
    found = F.log_softmax(logits, dim=1).double()
    wanted = log_targets.double()
    rows = (wanted.exp() * (wanted - found)).sum(dim=1)
    return rows if rows.ndim == 1 else rows.flatten(1).mean(dim=1)


def _drawn_patches(num_images: int, num_patches: int, *, seed: int) -> Tensor:
    """Draw different patches of each image: (num_images, at most ``PATCH_SAMPLE``) int64."""
    rng = np.random.default_rng([seed, num_patches])
    drawn = [rng.permutation(num_patches)[:PATCH_SAMPLE] for _ in range(num_images)]
    return torch.from_numpy(np.sort(np.stack(drawn), axis=1))
