"""Class names."""

from pathlib import Path
from typing import Any

import numpy as np
from timm.data import ImageNetInfo

from benchmarks.cases.base_files import write_base
from benchmarks.cases.frame import case, part, pick

EMNIST = ("A", "B", "C", "a", "b", "c")


def resolve(wanted: list[str], names: tuple[str, ...]) -> str:
    found = pick("resolve_classes", "core.class_names", "core.task")(wanted, names)
    return " ".join(map(str, found))


def task_of(names: tuple[str, ...], outputs: tuple[str, ...], classes: list[str]) -> Any:
    images = part("core.images").ImageSet
    encoded = [b"%d" % k for k in range(8 * len(names))]
    labels = np.repeat(np.arange(len(names)), 8)
    train, test = (images(encoded[k::2], labels[k::2], names, "here") for k in (0, 1))
    return part("core.task").make_task({"train": train, "test": test}, data="d", base_labels=outputs, classes=classes)


def imagenet_labels() -> tuple[str, ...]:
    """Name the outputs of an ImageNet head as the program does."""
    model = part("core.base").load_base("random:vit_tiny_patch16_224")
    return tuple(model.label_names)


@case("names: index of A B C among A B C a b c", right="0 1 2")
def emnist(folder: Path) -> str:
    return resolve(["A", "B", "C"], EMNIST)


@case("names: outputs of the task A b C of a base with A B C a b c", right="0 4 2")
def emnist_outputs(folder: Path) -> str:
    return " ".join(map(str, task_of(EMNIST, EMNIST, ["A", "b", "C"]).base_classes))


@case("names: index of -10 and 0 among -10 0 10", right="0 1")
def signs(folder: Path) -> str:
    return resolve(["-10", "0"], ("-10", "0", "10"))


@case("names: classes 10 and 0 of a data set, a base with -10 and 0", right="None")
def signs_outputs(folder: Path) -> str:
    return str(task_of(("10", "0"), ("-10", "0"), ["10", "0"]).base_classes)


@case("names: ImageNet's crane (bird 134, machine 517)", right="refused")
def crane(folder: Path) -> str:
    return resolve(["crane", "goldfish"], imagenet_labels())


@case("names: ImageNet's maillot (638, 639)", right="refused")
def maillot(folder: Path) -> str:
    return resolve(["maillot", "goldfish"], imagenet_labels())


@case("names: folders n02012849 and n01440764, an ImageNet base", right="134 0")
def wordnet(folder: Path) -> str:
    names = ("n02012849", "n01440764")
    return str(" ".join(map(str, task_of(names, imagenet_labels(), list(names)).base_classes or ["no output"])))


@case("names: label 'tench, Tinca tinca' beside goldfish, an ImageNet base", right="0 1")
def comma_list(folder: Path) -> str:
    names = ("tench, Tinca tinca", "goldfish")
    found = task_of(names, imagenet_labels(), ["0", "1"]).base_classes
    return " ".join(map(str, found or ["no output"]))


@case("names: all 1000 comma lists as a data set's labels, class 517", right="517 134")
def whole_list(folder: Path) -> str:
    info = ImageNetInfo()
    names = tuple(info.index_to_description(k) for k in range(1000))
    found = task_of(names, imagenet_labels(), ["517", "134"]).base_classes
    return " ".join(map(str, found or ["no output"]))


@case("names: a class file with C# and C", right="C# C")
def hash_sign(folder: Path) -> str:
    (folder / "classes.txt").write_text("C#\nC\n")
    return " ".join(pick("parse_classes", "core.class_list", "core.task")(f"@{folder / 'classes.txt'}"))


@case("names: a base whose label_names are a mapping {10: k, 0: a, 1: b, ...}", right="a b k")
def mapping(folder: Path) -> str:
    labels = labels_of_base(folder, {str(k): "abcdefghijk"[k] for k in (10, *range(10))})
    return " ".join(labels[k] for k in (0, 1, 10))


@case("names: a base whose label_names are a mapping from name to index", right="refused")
def other_mapping(folder: Path) -> str:
    return " ".join(labels_of_base(folder, {name: k for k, name in enumerate("abcdefghijk")}))


def labels_of_base(folder: Path, names: Any) -> tuple[str, ...]:
    return tuple(part("core.base").load_base(str(write_base(folder, names=names))).label_names)
