"""Ids of commit 494cfc3: rows that are years old must still be found by them."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec, arch_from_dict, dict_from_arch
from nuwa_search.core.base import load_base
from nuwa_search.core.base_identity import weights_of
from nuwa_search.core.identity import hashed_values, later_defaults
from nuwa_search.core.images import ImageSet
from nuwa_search.core.pipeline import FIRST_PIPELINE
from nuwa_search.core.task import Task
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.options import DeriveOptions

BASE = Arch((BlockSpec(3, 32, 32, 768),) * 4, 192, 100, 32, 4)
ARCHS = {
    "whole": BASE,
    "tiny224": Arch((BlockSpec(3, 64, 64, 768),) * 12, 192, 1000, 224, 16),
    "first gone": dataclasses.replace(BASE, blocks=(EMPTY_BLOCK, *BASE.blocks[1:])),
    "last gone": dataclasses.replace(BASE, blocks=(*BASE.blocks[:3], EMPTY_BLOCK)),
    "no attention": dataclasses.replace(BASE, blocks=(BlockSpec(0, 0, 0, 512), *BASE.blocks[1:])),
    "no mlp": dataclasses.replace(BASE, blocks=(BlockSpec(2, 16, 24, 0), *BASE.blocks[1:])),
    "narrow": dataclasses.replace(BASE, embed_dim=160, norm="rmsnorm", num_classes=5),
    "avg": dataclasses.replace(BASE, global_pool="avg", num_prefix_tokens=0, final_norm="after_pool"),
    "dist": dataclasses.replace(BASE, global_pool="dist", num_prefix_tokens=2),
    "registers": dataclasses.replace(BASE, num_prefix_tokens=5, qkv_bias=False, norm_eps=1e-5),
    "clip": dataclasses.replace(BASE, pre_norm=True, act="quick_gelu", in_chans=1),
}
OPTIONS = {
    "plain": DeriveOptions(),
    "refined": DeriveOptions(refine=True),
    "few": DeriveOptions(num_images=64, sensitivity_images=0),
    "pure": DeriveOptions(purify_steps=5, svd="none", ranking="energy"),
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("whole", "72240c7df8e246a8"),
        ("tiny224", "809c9fa2348da78d"),
        ("first gone", "f62d3147502696a4"),
        ("last gone", "f62d3147502696a4"),
        ("no attention", "240425d25307f398"),
        ("no mlp", "c214ccb7a3faebbc"),
        ("narrow", "c0622da07049300b"),
        ("avg", "4527674ef4b92c10"),
        ("dist", "fdc4121711162ec7"),
        ("registers", "d9c5ac210c749e2a"),
        ("clip", "6e0c812ad542b3a2"),
    ],
)
def test_arch_ids_are_those_of_494cfc3(name: str, wanted: str) -> None:
    assert ARCHS[name].arch_id == wanted
    assert arch_from_dict(dict_from_arch(ARCHS[name])).arch_id == wanted


@pytest.mark.parametrize(
    ("arch", "options", "wanted"),
    [
        ("whole", "plain", "89ae82ca1a4e4af0"),
        ("whole", "refined", "ea02474f9593b6f0"),
        ("whole", "few", "b5f8e2b1fc8134a6"),
        ("whole", "pure", "a063e4bdceecd954"),
        ("first gone", "plain", "6704aab56e68cdc3"),
        ("first gone", "refined", "395ab1006f4e2279"),
        ("last gone", "plain", "2b83fbdcef38b427"),
        ("last gone", "refined", "4d90c5b8662afa52"),
        ("narrow", "plain", "0a9bbd606fa7600c"),
        ("narrow", "refined", "23d6e416b6fa4785"),
        ("no mlp", "plain", "51b1baeeb479a133"),
        ("no mlp", "refined", "dfc811bb61092dca"),
    ],
)
def test_subnet_ids_are_those_of_494cfc3(arch: str, options: str, wanted: str) -> None:
    assert subnet_id(ARCHS[arch], "base-0", "task-0", OPTIONS[options]) == wanted


def images(count: int, start: int) -> ImageSet:
    return ImageSet([f"{start}-{k}".encode() for k in range(count)], np.arange(count) % 2, ("a", "b"), "here")


def task(*names: str, pipeline: int = FIRST_PIPELINE) -> Task:
    return Task("d", names, (0, 1), images(8, 0), images(4, 1), images(6, 2), True, pipeline=pipeline)


def test_task_and_base_ids_are_those_of_494cfc3() -> None:
    assert task("a", "b").task_id == "75c0f73ef583d1fe"
    assert task("b", "a").task_id == "a23f1b0c737b809f"
    assert load_base().base_id == "e6ccd7e1de4bc0b51ab5"


def test_other_mean_or_crop_makes_another_base_and_so_another_subnet() -> None:
    base = load_base()
    about = base.preprocess
    others = [
        dataclasses.replace(about, mean=(0.5, 0.5, 0.5)),
        dataclasses.replace(about, std=(0.5, 0.5, 0.5)),
        dataclasses.replace(about, crop_pct=0.9),
        dataclasses.replace(about, crop_pct=0.9, crop_mode="squash"),
        dataclasses.replace(about, interpolation="bilinear"),
    ]
    bases = [base, *(dataclasses.replace(base, preprocess=other) for other in others)]
    ids = [b.base_id for b in bases]
    assert len(set(ids)) == len(ids)
    assert {weights_of(identity) for identity in ids} == {"e6ccd7e1de4bc0b51ab5"}
    assert len({subnet_id(ARCHS["whole"], identity, "task-0", OPTIONS["plain"]) for identity in ids}) == len(ids)
    # as 494cfc3 made images, and so in its databases, it is named by its weights alone
    assert {b.with_pipeline(FIRST_PIPELINE).base_id for b in bases} == {"e6ccd7e1de4bc0b51ab5"}


def test_another_preprocessing_makes_another_task_and_so_another_subnet() -> None:
    ids = [task("a", "b", pipeline=version).task_id for version in (1, 2, 3)]
    assert len(set(ids)) == 3


def test_another_metric_makes_another_task() -> None:
    plain = task("a", "b")
    assert dataclasses.replace(plain, metric="top1").task_id == "75c0f73ef583d1fe"
    assert dataclasses.replace(plain, metric="balanced").task_id != plain.task_id


@dataclass(frozen=True)
class Grown:
    """As `First` of an earlier version, with two fields more."""

    width: int
    depth: int = 4
    height: int = 0
    places: tuple[int, ...] = ()


def test_later_fields_are_hashed_only_where_they_say_something() -> None:
    later = later_defaults(Grown, original=frozenset({"width", "depth"}))
    assert later == {"height": 0, "places": ()}
    assert hashed_values(dataclasses.asdict(Grown(3)), later) == {"width": 3, "depth": 4}
    assert hashed_values(dataclasses.asdict(Grown(3, height=2)), later) == {"width": 3, "depth": 4, "height": 2}


def test_a_later_field_without_default_and_a_lost_one_are_programming_errors() -> None:
    with pytest.raises(TypeError, match="width needs a default"):
        later_defaults(Grown, original=frozenset({"depth"}))
    with pytest.raises(TypeError, match="lost"):
        later_defaults(Grown, original=frozenset({"width", "gone"}))
