from pathlib import Path

import numpy as np
import pytest

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.class_names import checked_names, distinct_names, match_labels, match_outputs, resolve_classes
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.imagenet_names import imagenet_classes, imagenet_synsets
from nuwa_search.core.images import ImageSet
from nuwa_search.core.task import make_task

EMNIST = ("A", "B", "C", "a", "b", "c")


def imagenet(kind: str) -> tuple[str, ...]:
    classes = imagenet_classes(1000)
    assert classes is not None
    return tuple(getattr(synset, kind) for synset in classes)


def test_case_is_kept_where_it_tells_classes_apart() -> None:
    assert resolve_classes(["A", "B", "C"], EMNIST) == (0, 1, 2)
    assert match_labels(("a", "B"), EMNIST) == (3, 1)
    with pytest.raises(NuwaError, match=r"'D.e' is ambiguous: 0 \(d-e\), 1 \(D_E\)") as caught:
        resolve_classes(["D e", "x"], ("d-e", "D_E", "x"))
    assert "0 or 1" in caught.value.hint


def test_signs_are_no_joints() -> None:
    assert resolve_classes(["-10", "0"], ("-10", "0", "10")) == (0, 1)
    assert resolve_classes(["10", "0"], ("-10", "0", "10")) == (2, 1)
    assert match_labels(("10", "0"), ("-10", "0")) is None
    assert match_labels(("A+", "A-"), ("a-", "a+")) == (1, 0)


def test_spelling_does_not_matter_where_one_class_is_left() -> None:
    names = ("lawn_mower", "Stra\u00dfenbahn", "caf\u00e9")
    assert resolve_classes(["Lawn-Mower", "STRASSENBAHN", "cafe\u0301"], names) == (0, 1, 2)


@pytest.mark.parametrize("name", ["-1", -1, "9" * 5000, 3])
def test_index_outside_is_refused(name: str | int) -> None:
    with pytest.raises(NuwaError, match=r"outside|unknown class"):
        resolve_classes([name, 0], ("a", "b", "c"))


@pytest.mark.parametrize("kind", ["wordnet_id", "lemmas", "short", "definition"])
def test_imagenet_classes_match_by_all_they_are_called(kind: str) -> None:
    outputs = distinct_names(imagenet("short"))
    assert outputs[134] == "crane (n02012849)"
    assert outputs[517] == "crane (n03126707)"
    called = imagenet(kind)
    assert match_labels((called[0], called[7]), outputs) == (0, 7)
    assert match_outputs(distinct_names(called), (517, 134, 638, 639), outputs) == (517, 134, 638, 639)


def test_ambiguous_imagenet_classes_ask_for_an_index() -> None:
    outputs = distinct_names(imagenet("short"))
    with pytest.raises(NuwaError, match=r"'crane' is ambiguous: 134 .* 517") as caught:
        resolve_classes(["crane", "tench"], outputs)
    assert "134 or 517" in caught.value.hint
    with pytest.raises(NuwaError, match="'maillot' is ambiguous") as caught:
        match_labels(("maillot", "tench"), outputs)
    assert "n03710637 or n03710721" in caught.value.hint
    assert resolve_classes(["n03126707", "134", "Tench, tinca tinca"], outputs) == (517, 134, 0)
    assert match_labels(("crane", "not in ImageNet"), outputs) is None  # a head is fitted: nothing to ask


def test_other_lists_of_a_thousand_names_are_not_imagenet() -> None:
    assert imagenet_synsets(tuple(f"class {k}" for k in range(1000))) is None
    assert imagenet_synsets(imagenet("short")[::-1]) is None


def test_names_that_stand_twice_are_told_apart() -> None:
    names = distinct_names(("crane", "bus", "crane"))
    assert names == ("crane (0)", "bus", "crane (2)")
    assert resolve_classes(["crane (2)", "bus"], names) == (2, 1)
    with pytest.raises(NuwaError, match="ambiguous"):
        match_labels(("crane", "bus"), names)
    with pytest.raises(NuwaError, match="two classes"):
        distinct_names(("a", "a", "a (0)"))


def test_two_classes_are_never_one_output() -> None:
    assert match_labels(("A", "a"), ("a", "b")) is None


def test_mappings_are_read_by_their_integer_keys() -> None:
    assert checked_names({"1": "dog", "0": "cat", "2": "owl"}, where="w") == ("cat", "dog", "owl")
    assert checked_names({10: "k", **{k: chr(97 + k) for k in range(10)}}, where="w")[10] == "k"


@pytest.mark.parametrize(
    "names",
    [{"cat": 0, "dog": 1}, {"0": "a", "2": "b"}, {"1": "a", "2": "b"}, {0: "a", "0": "b"}, "ab", [1, 2], ["a", ""],
     ["a\nb", "c"], {"-1": "a", "0": "b"}, {"0": "a", "9" * 5000: "b"}],
)  # fmt: skip
def test_other_names_are_refused(names: object) -> None:
    with pytest.raises(NuwaError, match="class name"):
        checked_names(names, where="config.json")


def test_task_knows_which_output_is_whose() -> None:
    train, test = (
        ImageSet([f"{part} {k}".encode() for k in range(24)], np.repeat(np.arange(6), 4), EMNIST, "here")
        for part in ("train", "test")
    )
    task = make_task({"train": train, "test": test}, data="d", base_labels=EMNIST, classes=["A", "b", "C"])
    assert (task.class_names, task.base_classes) == (("A", "b", "C"), (0, 4, 2))


def test_class_file_keeps_names_with_a_hash_sign(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("C#\nC  # the older one\n# none\ntench, Tinca tinca\n")
    assert parse_classes(f"@{path}") == ("C#", "C", "tench, Tinca tinca")
