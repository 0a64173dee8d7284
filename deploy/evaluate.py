"""Accuracy of a bundle or base on labelled images."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from nuwa_search.core.base import Base, load_base
from nuwa_search.core.class_names import match_outputs, resolve_classes
from nuwa_search.core.class_scores import Interval, NamedScores, class_scores
from nuwa_search.core.dataset import pick_split
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.home import expanded
from nuwa_search.core.images import WHOLE, ImageSet, Preprocess
from nuwa_search.core.img_size import ImgSize, img_size_from_value, size_words
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.logits import logits_of, topk
from nuwa_search.core.metric import Metric
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.sources import fitted_base, open_splits, open_task
from nuwa_search.core.tasks.kind import metric_for
from nuwa_search.core.tasks.pixel_scores import NamedPixelScores
from nuwa_search.core.tensors import split_tensors, task_tensors, turned_note
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.bundle import Bundle, is_bundle, read_bundle
from nuwa_search.deploy.bundle_source import source_of
from nuwa_search.deploy.evaluate_pixels import PixelModel, evaluate_pixels, pixel_model


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate on what.

    Args:
        model: A bundle's folder, or a base.
        data: The images; None for those that a bundle names, else the package's sample.
        label_column: Label column of Parquet files.
        classes: Images to take, and outputs to keep; None for all classes that have images, and of the images that
            a bundle names for those that it tells apart.
        split: Which split; None for ``test``, or the only one.
        whole_head: Whether all outputs stay although classes are named.
        metric: Which accuracy counts, for a head that is fitted; None for a bundle's own, else ``top1``.
        img_size: Of a base's images in pixels, its positions resampled; None for its own.
    """

    model: str
    data: str | None = None
    label_column: str | None = None
    classes: Sequence[str] | None = None
    split: str | None = None
    whole_head: bool = False
    metric: Metric | None = None
    img_size: ImgSize | None = None

    def __post_init__(self) -> None:
        if self.img_size is not None:
            object.__setattr__(self, "img_size", img_size_from_value(self.img_size, "img_size"))

    @property
    def is_restricted(self) -> bool:
        """Whether the head is restricted to the classes."""
        return self.classes is not None and not self.whole_head


@dataclass(frozen=True)
class Picked:
    """The model and the images it is evaluated on.

    Args:
        bundle: None for a base.
        network: With its whole head.
        preprocess: Of the network.
        images: Of the chosen classes.
        split: Their split.
        outputs: Index of the network's output for each of the chosen classes.
        notes: What of the data was left out, in sentences.
        has_fitted_head: Whether the head was fitted, because the base does not know the classes.
        metric: Which accuracy counts.
    """

    bundle: Bundle | None
    network: PlainViT
    preprocess: Preprocess
    images: ImageSet
    split: str
    outputs: tuple[int, ...]
    notes: tuple[str, ...] = ()
    has_fitted_head: bool = False
    metric: Metric = "top1"


@dataclass(frozen=True, kw_only=True)
class Accuracy(JsonFields):
    """How a model did on images of some classes.

    Args:
        top1: Fraction right; None where pixels have classes.
        top5: Fraction whose class is among the five likeliest; None below six outputs.
        num_images: Number of images.
        split: Split of these images.
        classes: Names of their classes.
        head: ``fitted``, ``restricted`` to the classes, or ``all`` of its outputs.
        metric: Which accuracy counts.
        top1_interval: 95 % interval of ``top1``; None where pixels have classes.
        scores: By class: recall, or IoU where pixels have classes.
        top5_interval: 95 % interval of ``top5``; None below six outputs.
    """

    MERGED: ClassVar = ("scores",)

    top1: float | None
    top5: float | None
    num_images: int
    split: str
    classes: tuple[str, ...]
    head: Literal["fitted", "restricted", "all"]
    metric: Metric
    top1_interval: Interval | None
    scores: NamedScores | NamedPixelScores
    top5_interval: list[float] | None


@dataclass(frozen=True, kw_only=True)
class EvaluateAnswer(Accuracy):
    """The `nuwa.evaluate/1` answer without its schema; ``notes`` say what of the data was left out."""

    notes: tuple[str, ...]


def evaluate(request: EvaluateRequest) -> EvaluateAnswer:
    """Evaluate the weights of a bundle or base; a base that does not know the classes gets a head, as in a search.

    Raises:
        NuwaError: If a bundle has no output for a class of the images, its own images have no test split, or there are
            too few images to fit a head.
    """
    pixels = pixel_model(request.model, request.data, label_column=request.label_column)
    if pixels is not None:
        return _of_pixels(request, pixels)
    picked = pick(request, may_fit=True)
    network = picked.network
    tensors = split_tensors(picked.images, picked.preprocess)
    if request.is_restricted and not picked.has_fitted_head:
        network, wanted = restrict_head(network, picked.outputs), tensors.labels
    else:
        wanted = torch.tensor(picked.outputs)[tensors.labels]
    logits = logits_of(network, tensors.images, picked.preprocess)
    found = accuracy_of(logits, wanted, picked, is_restricted=request.is_restricted)
    return EvaluateAnswer(**vars(found), notes=(*picked.notes, *turned_note(tensors)))


def _of_pixels(request: EvaluateRequest, model: PixelModel) -> EvaluateAnswer:
    """Evaluate a net that answers for every pixel, on images with masks.

    Raises:
        NuwaError: If an option was given that says nothing of pixels.
    """
    metric_for("segmentation", request.metric or "top1")
    if request.whole_head:
        raise NuwaError("--head all is for classes of whole images", hint="leave --head out")
    require_own_size(request, model.bundle)
    sized = dataclasses.replace(model, img_size=request.img_size)
    found = evaluate_pixels(sized, classes=request.classes, split=request.split)
    return EvaluateAnswer(
        top1=None,
        top5=None,
        top5_interval=None,
        num_images=found.scores.num_images,
        split=found.split,
        classes=found.class_names,
        head="fitted" if model.bundle is None else "all",
        metric="miou",
        top1_interval=None,
        scores=found.scores.of_classes(found.class_names),
        notes=found.notes,
    )


def accuracy_of(logits: Tensor, wanted: Tensor, picked: Picked, *, is_restricted: bool) -> Accuracy:
    """Compute the accuracy of logits.

    Args:
        logits: (N, outputs).
        wanted: (N,) int64 index of the right output.
        picked: The images, their split and classes, and the metric.
        is_restricted: Whether ``logits`` have one column per class of the images; False where they have all outputs.
    """
    scores, top5 = class_scores(logits, wanted), topk(logits, wanted)
    shown = range(len(picked.images.label_names)) if is_restricted else picked.outputs
    return Accuracy(
        top1=scores.top1,
        top5=top5,
        top5_interval=interval_of_share(top5, len(wanted)),
        num_images=len(wanted),
        split=picked.split,
        classes=picked.images.label_names,
        head="fitted" if picked.has_fitted_head else "restricted" if is_restricted else "all",
        metric=picked.metric,
        top1_interval=scores.top1_interval,
        scores=scores.restricted_to(shown).of_classes(picked.images.label_names),
    )


def pick(request: EvaluateRequest, *, may_fit: bool = False) -> Picked:
    """Open the model and choose its images.

    Args:
        request: What to evaluate on what.
        may_fit: Whether a base that does not know the classes gets a head fitted to their training images.

    Raises:
        NuwaError: If the model has no output for a class of the images, or a bundle's own images have no test split.
    """
    model, data, label_column, classes, split = (
        request.model,
        request.data,
        request.label_column,
        request.classes,
        request.split,
    )
    bundle = read_bundle(expanded(model)) if is_bundle(expanded(model)) else None
    if bundle is not None and bundle.arch.is_dense:
        raise NuwaError(
            f"{model} answers for every pixel, and its engine cannot be asked for a class of whole images",
            hint="leave --device out: the weights are evaluated here",
        )
    require_own_size(request, bundle)
    base = load_base(model, img_size=request.img_size) if bundle is None else None
    network, labels, preprocess = _parts_of(bundle, base)
    is_own_data = bundle is not None and data is None
    if bundle is not None:
        source = source_of(bundle, base=None, data=data, label_column=label_column)
        data, label_column = source.data, source.label_column
    _, found = open_splits(data, label_column=label_column, base=model)
    splits = found.splits
    if is_own_data and split is None and not {"test", "val"} & set(splits):
        raise NuwaError(
            f"the images that {model} names have no test split, and it was trained on a part of them",
            hint="name other images with --data, or say --split all",
        )
    name, images = pick_split(splits, split)
    present = [int(k) for k in np.flatnonzero(images.counts())]
    if is_own_data:  # the base's other classes may be there too
        present = [k for k in present if images.label_names[k] in labels] or present
    chosen = resolve_classes(classes if classes is not None else present, images.label_names)
    picked = images.only(chosen)
    empty = [n for n, count in zip(picked.label_names, picked.counts(), strict=True) if not count]
    if empty:
        raise NuwaError(
            f"class {empty[0]!r} has no images in split {name!r}",
            hint="name other classes with --classes, or another split with --split",
        )
    outputs = match_outputs(images.label_names, chosen, labels)
    if outputs is None and base is not None and may_fit and not request.whole_head:
        return _with_fitted_head(request, base)
    if not labels:
        raise NuwaError(
            f"base {model} came without a classifier, so it names no class",
            hint="a search fits a head on your images: nuwa-search --budget-ms N --base BASE --data PATH",
        )
    if outputs is None:
        raise NuwaError(
            f"{model} does not know all of these classes: it has {len(labels)} outputs, such as {labels[0]!r}",
            hint="name classes it knows with --classes",
        )
    metric = request.metric or (bundle.facts.metric if bundle is not None else "top1")
    return Picked(bundle, network, preprocess, picked, name, tuple(outputs), found.notes, metric=metric)


def require_own_size(request: EvaluateRequest, bundle: Bundle | None) -> None:
    """Refuse another image size for a bundle: its weights and preprocessing are of one.

    Raises:
        NuwaError: With the size that it takes.
    """
    if bundle is None or request.img_size in (None, bundle.arch.img_size):
        return
    raise NuwaError(
        f"bundle {request.model} takes images of {size_words(bundle.arch.img_size)} pixels, and --img-size says "
        f"{size_words(request.img_size)}",
        hint="leave --img-size out; it is for bases",
    )


def _with_fitted_head(request: EvaluateRequest, base: Base) -> Picked:
    """Fit the head that a search would start from, and take the images that it would test on."""
    classes = None if request.classes is None else tuple(request.classes)
    task = open_task(
        base,
        data=request.data,
        label_column=request.label_column,
        classes=classes,
        seed=0,  # of a rule for splits that is used for old studies only
        metric=request.metric or "top1",
    )
    if request.split not in (None, "test", WHOLE):
        raise NuwaError(
            f"{request.model} does not know these classes: a head is fitted to their training images, and they are no "
            f"test of it; wanted split test, found {request.split!r}",
            hint="leave --split out",
        )
    tensors = task_tensors(task, base.preprocess)
    told = (
        f"{request.model} does not know all of these classes: a head was fitted to {len(task.train)} training images, "
        f"as a search would; the {len(task.test)} test images are no part of them"
    )
    return Picked(
        bundle=None,
        network=fitted_base(base, tensors, num_classes=task.num_classes),
        preprocess=base.preprocess,
        images=task.test,
        split="test",
        outputs=tuple(range(task.num_classes)),
        notes=(*task.notes, *tensors.notes, told),
        has_fitted_head=True,
        metric=task.metric,
    )


def _parts_of(bundle: Bundle | None, base: Base | None) -> tuple[PlainViT, tuple[str, ...], Preprocess]:
    if bundle is not None:
        return bundle.load_model(), bundle.labels, bundle.preprocess
    if base is None:
        raise NuwaError("a model is a bundle or a base")
    return base.model, base.label_names, base.preprocess
