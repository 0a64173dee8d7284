"""Which files are which split, and what is refused or said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.decode_image import FORMATS
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.image_folder import IMAGE_SUFFIXES
from nuwa_search.core.split_words import splits_named
from nuwa_search.deploy.assets.classifier import FORMATS as BUNDLE_FORMATS
from nuwa_search.deploy.assets.classifier import SUFFIXES
from tests.core.test_dataset import png, write_folder, write_parquet


def sizes(folder: Path) -> dict[str, int]:
    return {name: len(images) for name, images in load_dataset(folder).splits.items()}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("cifar_train", "cifar_test"),
        ("cifar-train", "cifar-test"),
        ("train_0", "test_0"),
        ("train.0", "test.0"),
        ("partial-train/0000", "partial-test/0000"),
        ("default/train/0000", "default/test/0000"),
        ("train-00000-of-00001", "test-00000-of-00001"),
        ("train-00000-of-00001-0123456789abcdef", "validation-00000-of-00001-fedcba9876543210"),
        ("data/Training", "data/Dev"),
        ("train2017", "val2017"),
        ("birdsTrain", "birdsTest"),
        ("trainset", "testData1"),
    ],
)
def test_a_split_word_is_a_whole_token(tmp_path: Path, train: str, test: str) -> None:
    for name, labels in ((train, [0, 1, 0]), (test, [0, 1])):
        write_parquet(tmp_path / f"{name}.parquet", labels, ["cat", "dog"])
    assert sorted(sizes(tmp_path).items(), key=lambda item: -item[1]) == [
        ("train", 3),
        ("val" if "val" in test or "Dev" in test else "test", 2),
    ]


@pytest.mark.parametrize("name", ["trainer", "contest", "latest", "devices", "value", "testament", "trains"])
def test_a_part_of_a_word_is_none(name: str) -> None:
    assert splits_named(name) == frozenset()


def test_shards_are_one_split(tmp_path: Path) -> None:
    for name in ("train_part1", "train_part2", "test_part1", "test_part2"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1], ["cat", "dog"])
    assert sizes(tmp_path) == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "extra"], r"train\.parquet names a split and .*extra\.parquet none"),
        (["train_test", "test"], r"names 2 splits: test, train"),
        (["plain/train", "plain/test", "hard/train", "hard/test"], r"2 configurations: .*hard, .*plain"),
        (["a10-train", "a10-test", "a100-train", "a100-test"], "2 configurations: a10.*, a10"),
        (["a/0", "b/0"], "2 configurations"),
        (["a-train", "a-test", "b-train"], "2 configurations: a, b"),
        (["mytrain", "mytest"], "seem to be splits"),
    ],
)
def test_names_with_several_readings_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", [0, 1], ["cat", "dog"])
    with pytest.raises(NuwaError, match=message) as caught:
        load_dataset(tmp_path)
    assert caught.value.hint


def test_a_configuration_can_be_named(tmp_path: Path) -> None:
    for name in ("plain/train", "plain/test", "hard/train", "hard/test"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1], ["cat", "dog"])
    assert sizes(tmp_path / "plain") == {"train": 2, "test": 2}


def test_a_split_without_labels_is_left_out_and_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1], ["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", [-1, -1], ["cat", "dog"])
    found = load_dataset(tmp_path)
    assert list(found.splits) == ["train"]
    assert found.notes == ("test.parquet (split test) holds no labels, and is left out",)


def test_some_labels_missing_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, -1], ["cat", "dog"])
    with pytest.raises(NuwaError, match=r"1 of 2 images of .* have the label -1"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("label", [10**9, 2**63 - 1])
def test_a_large_label_sets_no_allocation(tmp_path: Path, label: int) -> None:
    write_parquet(tmp_path / "train.parquet", [0, label])
    with pytest.raises(NuwaError, match=f"outside .*: {label}"):
        load_dataset(tmp_path)


def test_an_image_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train.parquet", [0, 1])
    path = tmp_path / "data" / "train.parquet"
    table = pq.read_table(path)
    images = [{"bytes": None, "path": "../secret.png"}, {"bytes": None, "path": "here.png"}]
    pq.write_table(table.set_column(0, "image", pa.array(images)), path)
    with pytest.raises(NuwaError, match="outside its folder"):
        load_dataset(tmp_path / "data")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bus": 2, "train": 3, "test-tube": 1})
    assert load_dataset(tmp_path).splits["all"].label_names == ("bus", "test-tube", "train")


def test_classes_named_by_split_words_and_more_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train-station": 2, "test-tube": 1})
    assert load_dataset(tmp_path).splits["all"].label_names == ("test-tube", "train-station")


def test_pictures_of_every_format_are_read_hidden_files_are_not_and_others_are_told(tmp_path: Path) -> None:
    assert IMAGE_SUFFIXES == SUFFIXES
    assert set(FORMATS) == BUNDLE_FORMATS
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} == set(FORMATS) & set(Image.EXTENSION.values())
    write_folder(tmp_path, {"cat": 2, "dog": 2})
    for name in ("b.jfif", "c.AVIF", "._0.png", ".thumbs/0.png", "d.heic", "e.HEIC", "f", "notes.txt"):
        (tmp_path / "cat" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cat" / name).write_bytes(png(3))
    found = load_dataset(tmp_path)
    assert found.splits["all"].counts().tolist() == [4, 2]
    (said,) = found.notes
    assert said.endswith("left out: 1 without ending, 2 .heic")


def test_folders_that_count_one_word_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"test1": 2, "test2": 3})
    assert sizes(tmp_path) == {"all": 5}


def test_folders_of_the_same_folders_are_classes_which_is_said(tmp_path: Path) -> None:
    for name in ("trn", "tst"):
        write_folder(tmp_path / name, {"cat": 2, "dog": 2})
    found = load_dataset(tmp_path)
    assert found.splits["all"].label_names == ("trn", "tst")
    (said,) = found.notes
    assert "trn, tst are read as classes" in said
    assert "cat, dog" in said


def test_train_and_test_that_hold_images_are_ambiguous(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 2, "test": 1})
    with pytest.raises(NuwaError, match="two ways: test, train hold images and no class folders") as caught:
        load_dataset(tmp_path)
    assert "as splits" in caught.value.hint.casefold()
    assert "as classes" in caught.value.hint.casefold()


def test_splits_beside_a_folder_of_images_are_ambiguous(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / split, {"cat": 2, "dog": 1})
    write_folder(tmp_path, {"samples": 2})
    with pytest.raises(NuwaError, match="samples beside them name no split"):
        load_dataset(tmp_path)


def test_splits_with_a_prefix(tmp_path: Path) -> None:
    for split, count in (("pets_train", 3), ("pets_test", 2), ("docs", 0)):
        write_folder(tmp_path / split, {"cat": count, "dog": count})
    assert sizes(tmp_path) == {"test": 4, "train": 6}


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    for folder in ("train", "training", "test"):
        write_folder(tmp_path / folder, {"cat": 2, "dog": 1})
    with pytest.raises(NuwaError, match=r"train and .*training both name the split train"):
        load_dataset(tmp_path)


def test_an_unlabelled_test_folder_is_left_out_and_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_folder(tmp_path / split, {"cat": 2, "dog": 1})
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(png(3))
    found = load_dataset(tmp_path)
    assert set(found.splits) == {"train", "val"}
    assert found.notes == (f"{tmp_path / 'test'} has no class folders: its images have no labels, and are left out",)


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 2, "dog": 1, "owl": 0})
    (tmp_path / "loose.png").write_bytes(png(3))
    found = load_dataset(tmp_path)
    assert found.splits["all"].label_names == ("cat", "dog")
    assert found.notes == (
        f"images right in {tmp_path} have no class and are left out: 1",
        "class folders without images are ignored: owl",
    )
