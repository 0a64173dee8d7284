"""What a cell runs: a collaboration with its images and their classes, made here or by ``nuwa decompose``."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.collaborate_net.made import BOARDS, fitted_fusion, pictures, write_made
from nuwa_search.core.dataset import load_dataset, pick_split
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import each_picture
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration, read_collaboration

MADE = "made"
"""The name of the collaboration that needs no search: quarters of noisy pictures."""


@dataclass(frozen=True)
class Case:
    """A collaboration over labelled images.

    Args:
        folder: Of the collaboration.
        collaboration: Its boards emulate ``predicted_ms``.
        fusion: Of its sub-models.
        images: (N, H, W, 3) uint8, at least as many as are streamed.
        classes: (N,).
    """

    folder: Path
    collaboration: Collaboration
    fusion: Fusion
    images: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]


def case_of(name: str, data: str, *, slower: float, count: int, place: Path) -> Case:
    """Open a case.

    Args:
        name: ``made``, or a folder that ``nuwa decompose`` wrote.
        data: Labelled images of that folder; its test split is drawn from.
        slower: Sub-models emulate this many times their predicted latency: the boards share this machine's cores, which
            must have computed every vector within the time that is emulated.
        count: Images.
        place: A folder to write into.
    """
    if name == MADE:
        images, classes = pictures(count, seed=4)
        return Case(place / MADE, write_made(place / MADE), fitted_fusion(), images, classes)
    collaboration, fusion = read_collaboration(Path(name))
    if len(collaboration.boards) != len(BOARDS):
        raise NuwaError(
            f"{name} has {len(collaboration.boards)} boards, wanted {len(BOARDS)}: two are killed in a stream"
        )
    parts = tuple(
        dataclasses.replace(
            part, predicted_ms=slower * part.predicted_ms, predicted_p95_ms=slower * part.predicted_p95_ms
        )
        for part in collaboration.parts
    )
    images, classes = _test_images(collaboration, data, count)
    return Case(Path(name), dataclasses.replace(collaboration, parts=parts), fusion, images, classes)


def _test_images(
    collaboration: Collaboration, data: str, count: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw labelled images of the test split."""
    _, split = pick_split(load_dataset(data, label_column=None).splits, None)
    known = {name: place for place, name in enumerate(collaboration.labels)}
    wanted = [k for k, label in enumerate(split.labels) if split.label_names[label] in known]
    if len(wanted) < count:
        raise NuwaError(f"{data} has {len(wanted)} test images of the collaboration's classes, wanted {count}")
    drawn = split.take(np.random.default_rng(4).permutation(wanted)[:count])  # files come class by class
    pictures_of = [picture.transpose(1, 2, 0) for picture, _ in each_picture(drawn, collaboration.preprocess)]
    classes = [known[split.label_names[label]] for label in drawn.labels]
    return np.ascontiguousarray(np.stack(pictures_of)), np.array(classes, np.int64)
