"""Images of a split as tensors, and a model's logits and accuracy over them."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nuwa_search.core.counting import counted
from nuwa_search.core.decided_logits import decided_logits
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet, Preprocess, pixels_and_turns
from nuwa_search.core.img_size import ImgSize, img_size_of, sides_of
from nuwa_search.core.known_outputs import KnownOutputs, net_key
from nuwa_search.core.metric import Metric
from nuwa_search.core.pipeline import FIRST_SPLIT_RULE
from nuwa_search.core.same_pictures import picture_hashes, picture_hashes_of, places_of_others
from nuwa_search.core.task import Task
from nuwa_search.core.tasks.masks import Masks, fitted_mask
from nuwa_search.core.vit import PlainViT


@dataclass(frozen=True)
class SplitTensors:
    """One split, decoded.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        num_turned: Pictures that their EXIF orientation had turned upright.
        masks: (N, H, W) uint8 classes of the pixels of ``images``, ``IGNORED`` where none is meant; None where whole
            images have classes.
        truths: The masks at their own size, which answers are scored at.
        places: (N,) which of the split's files these are, where some were left out; None for all in their order.
    """

    images: Tensor
    labels: Tensor
    num_turned: int = 0
    masks: Tensor | None = None
    truths: Masks | None = None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_hash(self) -> str:
        """Identify pixels and labels, or masks (16 hex digits)."""
        digest = hashlib.sha256(self.labels.cpu().numpy().tobytes())
        digest.update(self.images.cpu().contiguous().numpy().data)
        if self.masks is not None:
            digest.update(self.masks.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def to(self, device: torch.device) -> "SplitTensors":
        """Move what a net computes with to ``device``; what lies there already stays the same object."""
        if self.images.device == device:
            return self
        masks = None if self.masks is None else self.masks.to(device)
        return dataclasses.replace(self, images=self.images.to(device), labels=self.labels.to(device), masks=masks)

    def take(self, indices: Tensor) -> "SplitTensors":
        return SplitTensors(
            self.images[indices],
            self.labels[indices],
            masks=None if self.masks is None else self.masks[indices],
            truths=None if self.truths is None else self.truths.take(indices.tolist()),
        )


@dataclass(frozen=True)
class TaskTensors:
    """The decoded train and search splits of a task; the test split is opened by ``split_tensors``.

    Args:
        train: For statistics and fine-tuning.
        search: For scoring.
        preprocess: Of the base.
        metric: Of the task.
        hidden: What identifies the pictures of the search and test splits: nothing may be trained on them.
        left_out: Which images are in these splits too, under another file, and so in neither of the others.
        known: What nets gave on these images so far.
    """

    train: SplitTensors
    search: SplitTensors
    preprocess: Preprocess
    metric: Metric = "top1"
    hidden: frozenset[bytes] = frozenset()
    left_out: tuple[str, ...] = ()
    known: KnownOutputs = field(default_factory=KnownOutputs, repr=False, compare=False)

    def to(self, device: torch.device) -> "TaskTensors":
        """Move both splits to ``device``."""
        return dataclasses.replace(self, train=self.train.to(device), search=self.search.to(device))

    def search_logits(self, model: PlainViT) -> Tensor:
        """Run ``model`` on the search split, in evaluation mode, unless it has been: (N, num_classes, ...).

        In FP32, or in bf16 where that ranks the classes alike (``decided_logits``). They lie on the CPU: a net that was
        trained on a GPU is known again here by its weights.
        """
        was_training = model.training
        model.eval()
        key = ("logits", net_key(model), self.search.content_hash)
        features = self.known.find(features_key(model, self.search))
        logits = self.known.get(
            key,
            lambda: decided_logits(
                model, self.search.images, self.preprocess, labels=self.search.labels, features=features
            ).cpu(),
        )
        model.train(was_training)
        return logits

    @property
    def notes(self) -> tuple[str, ...]:
        """What decoding did that people should know, in sentences."""
        return (*self.left_out, *turned_note(self.train, self.search))


def features_key(model: PlainViT, split: SplitTensors) -> tuple[str, ...]:
    """Name the features of a net on a split, its head included."""
    return ("features", net_key(model), split.content_hash)


def split_tensors(images: ImageSet, preprocess: Preprocess) -> SplitTensors:
    """Decode one split."""
    values, num_turned = pixels_and_turns(images, preprocess)
    labels, truths = torch.from_numpy(images.labels.copy()), images.masks
    if truths is None:
        return SplitTensors(torch.from_numpy(values), labels, num_turned)
    size = preprocess.img_size
    masks = np.empty((len(images), *sides_of(size)), dtype=np.uint8)
    for place in counted("reading masks", range(len(images))):
        masks[place] = fitted_mask(truths.label_map(place), size)
    return SplitTensors(torch.from_numpy(values), labels, num_turned, torch.from_numpy(masks), truths)


def size_of_images(images: Tensor) -> ImgSize:
    """Return the size of images (N, C, H, W) in pixels."""
    return img_size_of(images.shape[-2], images.shape[-1])


def turned_note(*splits: SplitTensors) -> tuple[str, ...]:
    """Return how many pictures were turned, if any."""
    count, total = sum(split.num_turned for split in splits), sum(len(split) for split in splits)
    return (f"pictures turned upright, as their EXIF tells: {count} of {total}",) if count else ()


def task_tensors(task: Task, preprocess: Preprocess) -> TaskTensors:
    """Decode the train and search splits of a task; nothing is computed of test.

    An image whose pixels are those of one in a later split (train before search before test) is left out, though its
    file is another: saved anew, or without its metadata. Test images are decoded for that and dropped again. Tasks of
    the first rule for splits stay as they were.

    Raises:
        NuwaError: If a file is no readable image, or nothing else is left of a class.
    """
    train, search = (split_tensors(images, preprocess) for images in (task.train, task.search))
    if task.split_rule == FIRST_SPLIT_RULE:
        return TaskTensors(train, search, preprocess, task.metric)
    notes: list[str] = []
    hidden = frozenset(picture_hashes_of(task.test, preprocess))
    search = without_pictures(search, hidden, "search split", "test split", notes)
    hidden |= frozenset(picture_hashes(search.images.numpy()))
    train = without_pictures(train, hidden, "training data", "search or test split", notes)
    for split, name in ((train, "training data"), (search, "search split")):
        if split.masks is not None and len(split):
            continue  # a class of pixels may be rarest in no image
        for label in sorted(set(range(task.num_classes)) - set(split.labels.tolist())):
            raise NuwaError(
                f"every image of class {task.class_names[label]!r} in the {name} is in a later split too, saved anew",
                hint="leave the copies out, or name other classes with --classes",
            )
    return TaskTensors(train, search, preprocess, task.metric, hidden, tuple(notes))


def without_pictures(
    split: SplitTensors, hidden: frozenset[bytes], what: str, where: str, notes: list[str]
) -> SplitTensors:
    """Leave out the pictures that are known by their pixels, and note how many.

    Args:
        split: To go through.
        hidden: Hashes of the pixels of the pictures that are left out.
        what: The split as a sentence names it.
        where: Where the same pictures are, for the note.
        notes: Gets a sentence if any was left out.
    """
    kept = places_of_others(picture_hashes(split.images.numpy()), hidden)
    if len(kept) == len(split):
        return split
    notes.append(
        f"images of the {what} whose pixels are those of the {where} too, in another file, are left out of it: "
        f"{len(split) - len(kept)}"
    )
    places = torch.from_numpy(kept)
    return dataclasses.replace(split.take(places), num_turned=min(split.num_turned, len(kept)), places=places)
