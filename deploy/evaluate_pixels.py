"""mIoU of a bundle, or of a base with a fitted head, on images with masks."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.base import load_base
from nuwa_search.core.dataset import has_masks_at, load_dataset, pick_split
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fold_name import fold
from nuwa_search.core.home import expanded
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.sources import fitted_base, open_task
from nuwa_search.core.tasks.class_choice import chosen_pixel_classes, require_pixels
from nuwa_search.core.tasks.masks import BACKGROUND
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.core.tensors import split_tensors, task_tensors, turned_note
from nuwa_search.deploy.bundle import Bundle, is_bundle, read_bundle
from nuwa_search.deploy.bundle_source import source_of
from nuwa_search.deploy.train.score import tally_pixels


@dataclass(frozen=True)
class PixelModel:
    """A net that answers for pixels, or is to get a head that does.

    Args:
        name: As it was named.
        bundle: None for a base.
        data: Images with masks.
        label_column: Column of masks in Parquet files.
        img_size: Of a base's images in pixels; None for its own.
    """

    name: str
    bundle: Bundle | None
    data: str
    label_column: str | None
    img_size: ImgSize | None = None


@dataclass(frozen=True)
class PixelEvaluation:
    """Counts of pixels on a split.

    Args:
        scores: Counts, and the scores made of them.
        class_names: In the order of the outputs.
        split: Which split.
        notes: What was left out, or fitted, in sentences.
    """

    scores: PixelScores
    class_names: tuple[str, ...]
    split: str
    notes: tuple[str, ...]


def pixel_model(model: str, data: str | None, *, label_column: str | None) -> PixelModel | None:
    """Return whether a model is to be evaluated on masks; None where whole images have classes.

    Raises:
        NuwaError: If a bundle that answers for images is given masks.
    """
    folder = expanded(model)
    if not is_bundle(folder):
        if data is None or not has_masks_at(data, label_column=label_column):
            return None
        return PixelModel(model, None, data, label_column)
    bundle = read_bundle(folder)
    if bundle.arch.is_dense:
        source = source_of(bundle, base=None, data=data, label_column=label_column)
        if source.data is None:
            raise NuwaError(f"{model} names no images", hint="name some with --data")
        return PixelModel(model, bundle, source.data, source.label_column)
    if data is not None and has_masks_at(data, label_column=label_column):
        raise NuwaError(
            f"{model} answers for whole images, and the images of {data} have masks",
            hint="name images in class folders, or search for a net that answers for pixels with --data there",
        )
    return None


def evaluate_pixels(model: PixelModel, *, classes: Sequence[str] | None, split: str | None) -> PixelEvaluation:
    """Evaluate on one split, every mask at its own size.

    Raises:
        NuwaError: If a class or split is unknown, or the bundle's classes are other than was asked for.
    """
    if model.bundle is None:
        return _with_fitted_head(model, classes, split)
    bundle = model.bundle
    if classes is not None and _things(classes) != _things(bundle.labels):
        raise NuwaError(
            f"{model.name} tells {', '.join(bundle.labels)} apart, and its answers for fewer classes are not known",
            hint="leave --classes out",
        )
    found = load_dataset(model.data, label_column=model.label_column, task="segmentation")
    name, images = pick_split(found.splits, split)
    picked = numbered_as(images, bundle.labels, split=name, what="the bundle")
    require_pixels(picked, what=f"{name} images of {model.data}")
    tensors = split_tensors(picked, bundle.preprocess)
    scores = tally_pixels(bundle.load_model(), tensors, bundle.preprocess)[0].scores()
    return PixelEvaluation(scores, bundle.labels, name, (*found.notes, *turned_note(tensors)))


def _things(names: Sequence[str]) -> set[str]:
    return {fold(name) for name in names} - {BACKGROUND}


def numbered_as(images: ImageSet, labels: tuple[str, ...], *, split: str, what: str) -> ImageSet:
    """Number the classes of a split as a net does; what it does not know becomes background.

    Args:
        images: With masks.
        labels: Classes of the net, in the order of its outputs.
        split: Name of the split.
        what: The net as a sentence names it.

    Raises:
        NuwaError: If the images lack one of its classes.
    """
    wanted = None if images.label_names == labels else [name for name in labels if fold(name) != BACKGROUND]
    try:
        picked = chosen_pixel_classes({split: images}, wanted)[split]
    except NuwaError as error:
        raise NuwaError(
            f"{what} tells {', '.join(labels)} apart, and the images have the classes "
            f"{', '.join(images.label_names)}: {error.message}",
            hint="name it in classes.txt after the others: a class without pixels is left out of the mean",
        ) from error
    if picked.label_names != labels:
        raise NuwaError(
            f"the images have the classes {', '.join(images.label_names)}, and {what} tells {', '.join(labels)} apart",
            hint="name the images that it was made for with --data",
        )
    return picked


def _with_fitted_head(model: PixelModel, classes: Sequence[str] | None, split: str | None) -> PixelEvaluation:
    """Fit the head that a search would start from, and take the images that it would test on."""
    base = load_base(model.name, img_size=model.img_size)
    task = open_task(
        base,
        data=model.data,
        label_column=model.label_column,
        classes=None if classes is None else tuple(classes),
        seed=0,  # of a rule for splits that is used for old studies only
        kind="segmentation",
    )
    base = base.for_task(task.kind)
    if split not in (None, "test", WHOLE):
        raise NuwaError(
            f"{model.name} has no head for pixels: one is fitted to their training images, and they are no test of it; "
            f"wanted split test, found {split!r}",
            hint="leave --split out",
        )
    tensors = task_tensors(task, base.preprocess)
    network = fitted_base(base, tensors, num_classes=task.num_classes)
    test = split_tensors(task.test, base.preprocess)
    told = (
        f"a linear head was fitted to the patches of {len(task.train)} training images, as a search would; the "
        f"{len(task.test)} test images are no part of them"
    )
    scores = tally_pixels(network, test, base.preprocess)[0].scores()
    return PixelEvaluation(scores, task.class_names, "test", (*task.notes, *tensors.notes, told))
