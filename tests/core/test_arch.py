import dataclasses

import pytest

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec, arch_from_dict, dict_from_arch
from nuwa_search.core.cost import count_macs
from nuwa_search.core.errors import NuwaError

BLOCK = BlockSpec(3, 16, 8, 64)


def make(**changes: object) -> Arch:
    values = {"blocks": (BLOCK,) * 4, "embed_dim": 48, "num_classes": 5, "img_size": 32, "patch_size": 4}
    return Arch(**(values | changes))  # type: ignore[arg-type]  # values of mixed types on purpose


def test_json_round_trip() -> None:
    arch = make(norm="rmsnorm", num_prefix_tokens=3, act="quick_gelu")
    assert arch_from_dict(dict_from_arch(arch)) == arch


def test_arch_id_means_shape_only() -> None:
    first_gone = make(blocks=(EMPTY_BLOCK, BLOCK, BLOCK))
    last_gone = make(blocks=(BLOCK, BLOCK, EMPTY_BLOCK))
    assert first_gone != last_gone
    assert first_gone.arch_id == last_gone.arch_id == make(blocks=(BLOCK, BLOCK)).arch_id


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Arch)])
def test_arch_id_sees_every_field(field: str) -> None:
    other = {
        "blocks": (BLOCK,) * 3,
        "embed_dim": 40,
        "num_classes": 6,
        "img_size": 64,
        "patch_size": 8,
        "in_chans": 1,
        "num_prefix_tokens": 2,
        "global_pool": "avg",
        "qkv_bias": False,
        "norm": "rmsnorm",
        "norm_eps": 1e-5,
        "pre_norm": True,
        "final_norm": "after_pool",
        "act": "relu",
        "rope_dim": 16,
        "rope_temperature": 10.0,
    }
    assert make(**{field: other[field]}).arch_id != make().arch_id


@pytest.mark.parametrize(
    "changes",
    [
        {"embed_dim": 0},
        {"patch_size": 5},
        {"num_prefix_tokens": 0},
        {"global_pool": "dist"},
        {"norm_eps": float("nan")},
        {"act": "swish"},
        {"norm": "batchnorm"},
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(NuwaError):
        make(**changes)


@pytest.mark.parametrize("widths", [(-1, 8, 8, 8), (0, 8, 8, 8), (2, 0, 8, 8), (2, 8, 0, 0)])
def test_impossible_blocks_are_refused(widths: tuple[int, int, int, int]) -> None:
    with pytest.raises(NuwaError):
        BlockSpec(*widths)


@pytest.mark.parametrize("values", [{}, {"blocks": [{}]}, {"blocks": [], "depth": 3}])
def test_json_that_is_no_arch_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(NuwaError):
        arch_from_dict(values)


def test_fits_in_compares_position_by_position() -> None:
    base = make()
    assert make(blocks=(EMPTY_BLOCK, BLOCK, BlockSpec(0, 0, 0, 8), BLOCK)).fits_in(base)
    assert not make(blocks=(BLOCK,) * 3).fits_in(base)
    assert not make(blocks=(BlockSpec(3, 16, 8, 65), BLOCK, BLOCK, BLOCK)).fits_in(base)


@pytest.mark.parametrize(
    ("embed_dim", "heads", "published_g"), [(192, 3, 1.255), (384, 6, 4.60), (768, 12, 17.57)], ids=["Ti", "S", "B"]
)
def test_macs_match_nuwas_published_figures(embed_dim: int, heads: int, published_g: float) -> None:
    block = BlockSpec(heads, 64, 64, 4 * embed_dim)
    arch = Arch((block,) * 12, embed_dim, num_classes=1000, img_size=224, patch_size=16)
    assert count_macs(arch) / 1e9 == pytest.approx(published_g, rel=2e-3)
