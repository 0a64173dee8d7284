"""Which images are held out where some classes of a data set with masks are chosen."""

from collections.abc import Sequence

import numpy as np
import pytest

from nuwa_search.core.divide import Division
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.task import Task, make_task
from nuwa_search.core.tasks.class_choice import rarest_classes
from nuwa_search.core.tasks.masks import IGNORED, NUM_IDS, Masks

NAMES = ("background", "car", "person", "sign")
GROUPS = (("car",), ("person",), ("sign", "car"), ("background", "sign"))


@pytest.fixture(scope="module")
def street() -> ImageSet:
    """60 images whose files are their numbers, each with pixels of some classes."""
    counts = np.zeros((60, NUM_IDS), np.int64)
    counts[:, :4] = np.random.default_rng(0).integers(0, 2, (60, 4)) * 9
    counts[:, 0] = 100
    table = np.full(NUM_IDS, IGNORED, np.uint8)
    table[:4] = np.arange(4)
    files = [str(number).encode() for number in range(60)]
    masks = Masks(files, table, counts)
    return ImageSet(files, rarest_classes(masks, 4), NAMES, "street", masks)


def divided(images: ImageSet, classes: Sequence[str] | None, *, rule: int | None = None) -> Task:
    division = None if rule is None else Division(rule)
    return make_task({WHOLE: images}, data="street", base_labels=(), classes=classes, division=division)


def test_every_choice_of_classes_holds_out_the_same_images(street: ImageSet) -> None:
    whole = divided(street, None)
    assert (len(whole.train), len(whole.search), len(whole.test)) == (35, 12, 13)
    for group in GROUPS:
        part = divided(street, group)
        assert part.class_names == ("background", *(name for name in group if name != "background"))
        for name in ("train", "search", "test"):
            assert getattr(part, name).hashes == getattr(whole, name).hashes, (group, name)


def test_tasks_of_the_rule_before_are_divided_as_they_were(street: ImageSet) -> None:
    ids = {classes: divided(street, classes, rule=2).task_id for classes in (None, ("car",))}
    assert ids == {None: "5c179d3ec8af8277", ("car",): "bee020e244c7b100"}
    assert divided(street, None).task_id == ids[None], "what has all classes keeps its id"
    assert divided(street, ("car",)).task_id != ids[("car",)]
