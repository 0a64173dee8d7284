from pathlib import Path

import numpy as np
import pytest

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.class_names import resolve_classes
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.task import make_task

NAMES = ("apple", "lawn_mower", "bus")


def images(per_class: int, *, names: tuple[str, ...] = NAMES, start: int = 0) -> ImageSet:
    encoded = [f"{start}-{k}".encode() for k in range(per_class * len(names))]
    return ImageSet(encoded, np.repeat(np.arange(len(names)), per_class), names, "here")


def test_splits_are_disjoint_and_relabelled() -> None:
    task = make_task(
        {"train": images(10), "test": images(4, start=1)}, data="d", base_labels=NAMES, classes=["bus", "apple"]
    )
    assert task.class_names == ("bus", "apple")
    assert task.base_classes == (2, 0)
    assert (len(task.train), len(task.search), len(task.test)) == (16, 4, 8)
    assert not set(task.train.hashes) & set(task.search.hashes)
    assert sorted(task.search.labels.tolist()) == [0, 0, 1, 1]
    assert task.search_split_seen_by_base is True


def test_one_split_becomes_three() -> None:
    task = make_task({"all": images(10)}, data="d", base_labels=("x", "y", "z"))
    hashes = [set(s.hashes) for s in (task.train, task.search, task.test)]
    assert sum(map(len, hashes)) == len(set.union(*hashes)) == 30
    assert task.base_classes is None
    assert task.search_split_seen_by_base is None


@pytest.mark.parametrize("final", ["test", "val"])
def test_either_name_of_the_final_split_is_taken(final: str) -> None:
    task = make_task({"train": images(10), final: images(4, start=1)}, data="d", base_labels=NAMES)
    assert (len(task.train), len(task.search), len(task.test)) == (24, 6, 12)


def test_validation_split_beside_test_is_the_search_split() -> None:
    val = images(2, start=2)
    task = make_task({"train": images(10), "val": val, "test": images(4, start=1)}, data="d", base_labels=NAMES)
    assert (len(task.train), task.search.hashes, len(task.test)) == (30, val.hashes, 12)


def test_held_out_images_become_the_search_split() -> None:
    train = images(10)
    held = frozenset(train.hashes[k] for k in (0, 5, 11, 25))
    task = make_task({"train": train, "test": images(2, start=1)}, data="d", base_labels=NAMES, held_out=held)
    assert set(task.search.hashes) == held
    assert task.search_split_seen_by_base is False


def test_same_seed_same_split() -> None:
    splits = {"train": images(10), "test": images(2, start=1)}
    ids = [make_task(splits, data="d", base_labels=NAMES, seed=s).task_id for s in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_classes_by_name_index_and_spelling() -> None:
    assert resolve_classes(["Lawn Mower", "2"], NAMES) == (1, 2)


def test_numbers_are_indices_even_where_names_are_numbers() -> None:
    assert resolve_classes([0, 2], ("1", "2", "3")) == (0, 2)
    assert resolve_classes(["1", "3"], ("1", "2", "3")) == (0, 2)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["appel", "bus"], "unknown class"),
        (["bus"], "at least two"),
        (["bus", "bus", "apple"], "twice"),
        (["bus", "7"], "outside"),
    ],
)
def test_wrong_classes_are_refused(classes: list[str], message: str) -> None:
    with pytest.raises(NuwaError, match=message):
        resolve_classes(classes, NAMES)


def test_class_without_images_is_named() -> None:
    train = images(10).take(range(20))
    with pytest.raises(NuwaError, match="'bus' has 0 images"):
        make_task({"train": train, "test": images(1)}, data="d", base_labels=NAMES)


def test_class_lists(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("bus  # big\n\n# none\napple\n")
    assert parse_classes(f"@{path}") == ("bus", "apple")
    assert parse_classes(" bus, apple ") == ("bus", "apple")
    for empty in ("", " , "):
        with pytest.raises(NuwaError, match="empty"):
            parse_classes(empty)
    with pytest.raises(NuwaError, match="cannot be read"):
        parse_classes("@nothing.txt")
