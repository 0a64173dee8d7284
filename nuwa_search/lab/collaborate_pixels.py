"""Pictures whose pixels boards answered: shares of classes, label maps in files, and how many pixels are right."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.tasks.pixel_scores import PixelScores, PixelTally
from nuwa_search.deploy.assets.run_maps import keep_images, saved
from nuwa_search.deploy.assets.segmenter import FrameLabels, likeliest
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.layout import Collaboration

if TYPE_CHECKING:
    from nuwa_search.deploy.collaborate.npz import Floats


def class_shares_of(answer: CollaborativeAnswer, collaboration: Collaboration) -> dict[str, float] | None:
    """Share of each class among a picture's pixels, at the size that boards take; None where no board answered."""
    if answer.scores is None:
        return None
    height, width = sides_of(collaboration.preprocess.img_size)
    return _shares(answer.scores, (width, height), collaboration.labels)


def _shares(scores: "Floats", size: tuple[int, int], labels: Sequence[str]) -> dict[str, float]:
    found = likeliest(scores, size)
    counts = np.bincount(found.ravel(), minlength=len(labels)) / found.size
    return dict(zip(labels, counts.tolist(), strict=True))


def prepare_folder(folder: Path, images: Sequence[Path]) -> None:
    """Make a folder for label maps before any board is asked.

    Raises:
        NuwaError: If a label map would be written over one of the images, or the folder cannot be made.
    """
    hint = "name another folder with --maps"
    try:
        keep_images(list(images), folder)
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise NuwaError(str(error), hint=hint) from error
    except OSError as error:
        raise NuwaError(f"folder {folder} cannot be made: {error.strerror or error}", hint=hint) from error


def write_label_maps(
    folder: Path, source: ImageSet, answers: Sequence[CollaborativeAnswer], collaboration: Collaboration
) -> tuple[dict[str, str] | None, ...]:
    """Write a label map with a palette and the picture with it laid over, for each picture at its own size.

    Pictures that no board answered have none.

    Args:
        folder: Where they go, under the pictures' names as ``run.py`` of a bundle writes them.
        source: The pictures.
        answers: As many.
        collaboration: Of the boards.

    Returns:
        Paths ``labels`` and ``overlay`` of each picture; None where there are none.
    """
    taken: set[str] = set()
    written: list[dict[str, str] | None] = []
    for place, answer in enumerate(answers):
        if answer.scores is None:
            written.append(None)
            continue
        rgb = decode_image(source.read(place)).rgb
        labels = likeliest(answer.scores, rgb.size)
        shares = np.bincount(labels.ravel(), minlength=len(collaboration.labels)) / labels.size
        item = source.encoded[place]
        named = item if isinstance(item, Path) else Path(str(place))
        files = saved(FrameLabels(labels, shares, rgb), folder, named, taken)
        written.append({name: files[name] for name in ("labels", "overlay")})
    return tuple(written)


def count_pixels(answers: Sequence[CollaborativeAnswer], images: ImageSet, *, num_classes: int) -> PixelScores:
    """Count the pixels that are answered right, at each mask's own size; no pixel of an unanswered picture is.

    Raises:
        NuwaError: If the images have no masks.
    """
    if images.masks is None:
        raise NuwaError("pixels are counted against masks, and these images have none")
    tally = PixelTally(num_classes)
    for place, answer in enumerate(answers):
        truth = images.masks.label_map(place)
        found = truth if answer.scores is None else likeliest(answer.scores, (truth.shape[1], truth.shape[0]))
        tally.add_answer(found, truth)
    counts, is_answered = tally.scores(), np.array([[answer.scores is not None] for answer in answers], np.int64)
    return PixelScores(counts.hits * is_answered, counts.truths, counts.answers * is_answered)
