"""Some classes of a data set with masks: they are kept, and the rest becomes background."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nuwa_search.core.class_names import resolve_classes
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fold_name import fold
from nuwa_search.core.tasks.masks import BACKGROUND, IGNORED, Masks

if TYPE_CHECKING:
    from nuwa_search.core.images import ImageSet


def chosen_pixel_classes(
    splits: "Mapping[str, ImageSet]", wanted: Sequence[str | int] | None, *, is_division_shared: bool = False
) -> "dict[str, ImageSet]":
    """Keep the classes ``wanted`` in every split; the background comes first and takes the rest in.

    Args:
        splits: Of one data set, with masks.
        wanted: Names or indices; None keeps all classes as they are named.
        is_division_shared: Whether images are to be divided by all classes of the data set, so that every choice of
            classes holds out the same ones; False divides by the chosen classes, as was done before.

    Raises:
        NuwaError: If a class is unknown, or a split has no masks.
    """
    out: dict[str, ImageSet] = {}
    for name, images in splits.items():
        if images.masks is None:
            raise NuwaError(
                f"the split {name} of {images.origin} has no masks, and others have",
                hint="give every split its masks, or leave it out",
            )
        names, chosen, first = _kept(images.label_names, wanted)
        masks = images.masks.recoded(chosen, first=first)
        labels = rarest_classes(masks, len(names))
        strata = images.labels if is_division_shared else None
        changed = dataclasses.replace(images, masks=masks, label_names=names, labels=labels, strata=strata)
        if "hashes" in images.__dict__:  # each costs reading a file
            changed.__dict__["hashes"] = images.hashes
        out[name] = changed
    return out


def _kept(names: Sequence[str], wanted: Sequence[str | int] | None) -> tuple[tuple[str, ...], list[int], int]:
    """Name the classes that are left, list those of the data set among them, and say which place these start at."""
    whole = list(range(len(names)))
    if wanted is None:
        return tuple(names), whole, 0
    behind = next((k for k, name in enumerate(names) if fold(name) == BACKGROUND), None)
    if behind is None:  # one that was added is named among the classes of a net
        wanted = [name for name in wanted if fold(str(name)) != BACKGROUND]
    chosen = resolve_classes(wanted, names, least=1)  # one class beside its background is a task
    if list(chosen) == whole:
        return tuple(names), whole, 0
    kept = [k for k in chosen if k != behind]
    if not kept:
        raise NuwaError(f"{names[chosen[0]]!r} alone is no task", hint="name a class beside it: --classes a,b")
    if behind is None:
        return (BACKGROUND, *(names[k] for k in kept)), kept, 1
    return tuple(names[k] for k in (behind, *kept)), [behind, *kept], 0


def rarest_classes(masks: Masks, num_classes: int) -> npt.NDArray[np.int64]:
    """Say of each image which of its classes is in the fewest images: (N,); class 0 where it has no other.

    Splits and samples are kept even by it, so that rare classes are in each.
    """
    present = masks.class_pixels(num_classes) > 0
    num_images = present.sum(axis=0).astype(np.float64)
    num_images[0] = np.inf  # the background is in nearly every image
    ranked = np.where(present, num_images[None], np.inf)
    ranked[:, 0] = np.where(present[:, 1:].any(axis=1), np.inf, 0.0)
    return np.asarray(ranked.argmin(axis=1), dtype=np.int64)


def require_pixels(images: "ImageSet", *, what: str) -> None:
    """Refuse a split whose masks say nothing.

    Raises:
        NuwaError: If every pixel of all its masks is ignored.
    """
    if images.masks is not None and not images.masks.class_pixels(IGNORED).any():
        raise NuwaError(
            f"every pixel of the masks of the {what} is {IGNORED}, which belongs to no class",
            hint="give pixels the ids of classes.txt; what is left unmarked is mostly background, id 0",
        )


def unseen_classes(train: "ImageSet", *, data: str) -> tuple[str, ...]:
    """Say which classes have no pixel to train on; a net will hardly answer them.

    Raises:
        NuwaError: If one alone has any: masks of 0 and 255 alone hold one class and pixels that are ignored.
    """
    if train.masks is None:
        return ()
    seen = np.flatnonzero(train.masks.class_pixels(len(train.label_names)).sum(axis=0))
    if len(seen) == 1:
        only = train.label_names[int(seen[0])]
        hint = "a net for pixels tells two classes apart at least"
        if train.masks.num_pixels[:, IGNORED].any():
            hint = (
                f"{IGNORED} is no class but pixels that are ignored: write the ids of classes.txt, from 0 on, instead"
            )
        raise NuwaError(f"the masks of the training images of {data} hold pixels of {only!r} alone", hint=hint)
    names = [name for place, name in enumerate(train.label_names) if place not in seen]
    return (f"classes of {data} without a pixel to train on: {', '.join(names)}",) if names else ()
