from pathlib import Path

import numpy as np
import pytest

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.class_names import resolve_classes
from nuwa_search.core.divide import Division
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


@pytest.mark.parametrize("names", [("train", "test"), ("all",)])
def test_splits_come_from_the_images_and_not_from_a_seed(names: tuple[str, ...]) -> None:
    splits = {name: images(10, start=k) for k, name in enumerate(names)}
    tasks = [make_task(splits, data="d", base_labels=NAMES, division=Division(seed=s)) for s in (0, 1)]
    assert tasks[0].task_id == tasks[1].task_id
    shuffled = {name: found.take(np.random.default_rng(0).permutation(30)) for name, found in splits.items()}
    again = make_task(shuffled, data="d", base_labels=NAMES)
    few = make_task(splits, data="d", base_labels=NAMES, classes=["apple", "bus"])
    for split in ("train", "search", "test"):
        found, same, some = (getattr(t, split) for t in (tasks[0], again, few))
        assert set(found.hashes) == set(same.hashes)
        assert set(some.hashes) < set(found.hashes)  # whatever other classes there are


def test_rule_1_divides_by_seed_as_it_did() -> None:
    splits = {"all": images(10)}
    found = [make_task(splits, data="d", base_labels=NAMES, division=Division(1, s), pipeline=1) for s in (0, 0, 1)]
    assert found[0].task_id == found[1].task_id != found[2].task_id
    assert found[0].task_id == "f4e635a7ced86acb"  # what commit 494cfc3 says


def test_images_of_several_splits_are_trained_on_in_none() -> None:
    train, val, test = images(10), images(6, start=2), images(4, start=1)
    mixed = ImageSet(
        [*train.encoded, *val.encoded[:2], *test.encoded[:3]],
        np.concatenate([train.labels, val.labels[:2], (test.labels[:3] + 1) % 3]),  # under other labels, too
        NAMES,
        "here",
    )
    both = ImageSet([*val.encoded, test.encoded[5]], np.append(val.labels, test.labels[5]), NAMES, "here")
    task = make_task({"train": mixed, "val": both, "test": test}, data="d", base_labels=NAMES)
    assert [len(s) for s in (task.train, task.search, task.test)] == [30, 18, 12]
    assert set(task.train.hashes) == set(train.hashes)
    assert task.notes == (
        "images of the training data that are in the test split too are left out of it: 3",
        "images of the validation split that are in the test split too are left out of it: 1",
        "images of the training data that are in the search split too are left out of it: 2",
    )


def test_copies_in_one_source_stay_in_one_split() -> None:
    one = images(8)
    double = ImageSet([*one.encoded, *one.encoded], np.concatenate([one.labels, one.labels]), NAMES, "here")
    task = make_task({"all": double}, data="d", base_labels=NAMES)
    parts = [set(s.hashes) for s in (task.train, task.search, task.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 24
    assert sum(map(len, (task.train, task.search, task.test))) == 48


def test_a_training_split_that_is_the_test_split_is_refused() -> None:
    with pytest.raises(NuwaError, match=r"class 'apple' has 0 images in the train split"):
        make_task({"train": images(10), "test": images(10)}, data="d", base_labels=NAMES)


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
    test = images(1, start=1)
    with pytest.raises(NuwaError, match="'bus' has 0 images"):
        make_task({"train": train, "test": test}, data="d", base_labels=NAMES, classes=["apple", "bus"])
    task = make_task({"train": train, "test": test}, data="d", base_labels=NAMES)
    assert task.class_names == ("apple", "lawn_mower")
    assert task.notes == ("classes of d that have no images to train on are left out: 1",)


def test_class_lists(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("bus  # big\n\n# none\napple\n")
    assert parse_classes(f"@{path}") == ("bus", "apple")
    assert parse_classes(" bus, apple ") == ("bus", "apple")
    for empty in ("", " , "):
        with pytest.raises(NuwaError, match="empty"):
            parse_classes(empty)
    with pytest.raises(NuwaError, match=r"class file nothing\.txt is missing"):
        parse_classes("@nothing.txt")


@pytest.mark.parametrize("name", ["x" * 1001, "a\0b", "\x1b[2J"])
def test_what_is_no_name_of_a_class_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(f"bus\n{name}\n")
    with pytest.raises(NuwaError, match="class"):
        parse_classes(f"@{path}")
