"""Copies of a picture in other files: none is trained on that is scored or tested on."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from nuwa_search.core.divide import without_test_images
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, ImageSet, Preprocess
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import task_tensors

NAMES = ("bus", "van")
SMALL = Preprocess(img_size=8)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 10, 3)).astype(np.uint8))


def saved(seed: int, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture(seed).save(out, kind, **options)
    return out.getvalue()


def images(*files: bytes) -> ImageSet:
    """Half of them buses, half vans, in turn."""
    return ImageSet(list(files), np.arange(len(files)) % 2, NAMES, "d")


def turned(seed: int) -> bytes:
    """The picture lying on its side, with EXIF that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    picture(seed).transpose(Image.Transpose.ROTATE_90).save(out, "PNG", exif=exif)
    return out.getvalue()


def task(train: ImageSet, search: ImageSet, test: ImageSet) -> Task:
    return Task("d", NAMES, None, train, search, test, None)


def test_a_picture_saved_anew_is_left_out_of_what_comes_before_it_is_tested() -> None:
    train = images(*(saved(k) for k in range(6)), saved(10), saved(11))
    search = images(saved(10, compress_level=1), saved(21), saved(22), saved(30))
    test = images(saved(30, "BMP"), saved(11, "WEBP", lossless=True), turned(0), saved(32))
    found = task_tensors(task(train, search, test), SMALL)
    assert (len(found.train), len(found.search)) == (5, 3)
    assert [note.rsplit(": ", 1)[1] for note in found.notes[:2]] == ["1", "3"]
    assert "another file" in found.notes[0]
    first = dataclasses.replace(task(train, search, test), split_rule=1)  # as it was divided
    assert len(task_tensors(first, SMALL).train) == 8


def test_different_pictures_are_all_kept() -> None:
    parts = [images(*(saved(10 * part + k) for k in range(4))) for part in range(3)]
    found = task_tensors(task(*parts), SMALL)
    assert (len(found.train), len(found.search), found.notes) == (4, 4, ())
    assert found.train.labels.tolist() == [0, 1, 0, 1]


def test_a_class_of_copies_alone_is_refused() -> None:
    test = images(saved(0, "BMP"), saved(9))
    with pytest.raises(NuwaError, match="every image of class 'bus' in the training data"):
        task_tensors(task(images(saved(0), saved(1)), images(saved(2), saved(3)), test), SMALL)


def test_a_base_is_not_trained_on_what_searches_test_on() -> None:
    train = images(saved(0), saved(1), saved(2), saved(3), saved(0, "BMP"), saved(5))
    test = images(saved(2, compress_level=1), saved(3))
    kept, notes = without_test_images({"train": train, "test": test}, train, SMALL)
    assert list(kept.encoded) == [saved(0), saved(1), saved(5)]
    assert len(notes) == 2  # the file of 3; the pixels of 2, and 0 twice
    whole = images(*(saved(k) for k in range(20)))
    kept, notes = without_test_images({WHOLE: whole}, whole, SMALL)
    assert kept.counts().tolist() == [8, 8]
    assert notes[0].endswith(": 4")
