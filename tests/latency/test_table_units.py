from dataclasses import replace

import pytest

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.axes import (
    attn_keys,
    axes_of,
    coarse,
    contexts_in,
    farthest_first,
    mlp_keys,
    spread,
    steps_up_to,
)
from nuwa_search.latency.table.chain import CHAIN_LENGTHS, chain_for, frame_of, slope
from nuwa_search.latency.table.unit import (
    BlockKey,
    UnitKey,
    attn_part,
    context_of,
    dict_from_key,
    key_from_dict,
    label_of,
    mlp_part,
    stem_of,
)
from tests.support.closed_form_device import BASE

CONTEXT = context_of(BASE)
KEYS: list[UnitKey] = [
    BlockKey(BlockSpec(2, 8, 16, 0), CONTEXT),
    BlockKey(BlockSpec(0, 0, 0, 64), CONTEXT, "busy"),
    BlockKey(BlockSpec(2, 8, 16, 64), CONTEXT),
    stem_of(BASE),
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_survive_json(key: UnitKey) -> None:
    assert key_from_dict(dict_from_key(key)) == key


def test_a_stem_knows_the_sides_of_its_image_and_a_square_is_written_as_ever() -> None:
    wide, tall = (stem_of(replace(BASE, img_size=size)) for size in ((16, 32), (32, 16)))
    assert wide != tall
    assert sorted([tall, stem_of(BASE), wide])[0] == wide
    assert (wide.num_patches, wide.image) == (tall.num_patches, (16, 32))
    assert "img_width" not in dict_from_key(stem_of(BASE))
    assert (dict_from_key(wide)["img_size"], dict_from_key(wide)["img_width"]) == (16, 32)
    for key in (wide, tall):
        assert key_from_dict(dict_from_key(key)) == key
        assert chain_for(key, frame=frame_of(BASE)).archs[0].img_size == key.image
    assert "at 16x32 px" in label_of(wide)
    for width in (16, 30, -1):
        with pytest.raises(NuwaError, match=r"not a row of a latency table: .*(img_width|img_size|patch_size)"):
            key_from_dict(dict_from_key(wide) | {"img_width": width})


def test_kinds_and_labels() -> None:
    assert [key.kind for key in KEYS] == ["attn", "mlp", "block", "stem"]
    assert label_of(KEYS[0]) == "attn 2 heads x qk 8 x v 16 at width 128, 65 tokens, layernorm"
    assert label_of(KEYS[1]).endswith("busy")


@pytest.mark.parametrize("change", [{"company": "crowded"}, {"num_tokens": None, "mood": 1}])
def test_damaged_keys_are_refused(change: dict[str, object]) -> None:
    values = dict_from_key(KEYS[0]) | change
    with pytest.raises(NuwaError, match="latency table"):
        key_from_dict(values)


def test_parts_of_a_block() -> None:
    whole = BlockSpec(2, 8, 16, 64)
    assert attn_part(whole) == BlockSpec(2, 8, 16, 0)
    assert mlp_part(whole) == BlockSpec(0, 0, 0, 64)


def test_slope_is_exact_on_a_line_and_propagates_noise() -> None:
    value, sd = slope((2, 6), (1.0 + 2 * 0.5, 1.0 + 6 * 0.5), relative_sd=0.01)
    assert value == pytest.approx(0.5)
    # Two points: the variance of a difference quotient.
    assert sd == pytest.approx(0.01 * (2.0**2 + 4.0**2) ** 0.5 / 4)


def test_slope_of_a_stem_is_its_latency() -> None:
    assert slope((1,), (0.3,), relative_sd=0.01) == pytest.approx((0.3, 0.003))


def test_chains_repeat_the_block_behind_its_background() -> None:
    key = BlockKey(BlockSpec(2, 8, 16, 0), CONTEXT, "busy")
    behind = BlockSpec(0, 0, 0, 4096)
    chain = chain_for(key, frame=frame_of(BASE), background=behind)
    assert [a.blocks for a in chain.archs] == [(behind,), (behind, *(key.block,) * CHAIN_LENGTHS[1])]
    assert chain.lengths == (0, CHAIN_LENGTHS[1])


def test_chains_alone_take_the_context_of_the_key() -> None:
    key = BlockKey(BlockSpec(0, 0, 0, 64), context_of(BASE))
    for arch, length in zip(*(lambda c: (c.archs, c.lengths))(chain_for(key, frame=frame_of(BASE))), strict=True):
        assert context_of(arch) == CONTEXT
        assert arch.blocks == (key.block,) * length


def test_axes_span_the_base_in_steps_of_eight() -> None:
    axes = axes_of(BASE, embed_dims=(64, 96))
    assert axes.num_heads == (1, 2, 3, 4)
    assert axes.qk_dims == (8, 16, 24, 32)
    assert len(axes.mlp_widths) == 64
    assert len(attn_keys(axes, [CONTEXT])) == 4 * 4 * 4
    assert len(mlp_keys(axes, [CONTEXT])) == 64
    own, cut = contexts_in(BASE, axes)
    assert [c.embed_dim for c in own + cut] == [128, 64, 96]
    assert {c.norm for c in cut} == {"rmsnorm"}


def test_steps_keep_an_odd_end() -> None:
    assert steps_up_to(20) == (8, 16, 20)
    assert steps_up_to(0) == ()


def test_a_base_without_mlp_cannot_be_spanned() -> None:
    from dataclasses import replace

    with pytest.raises(NuwaError, match="no MLP"):
        axes_of(replace(BASE, blocks=(BlockSpec(4, 32, 32, 0),)))


def test_coarse_keeps_the_ends() -> None:
    thin = coarse(axes_of(BASE), per_axis=2, mlp=3, embed=2)
    assert (thin.num_heads, thin.qk_dims) == ((1, 4), (8, 32))
    assert (thin.mlp_widths[0], thin.mlp_widths[-1]) == (8, 512)
    assert spread([1, 2, 3], 9) == [1, 2, 3]


def test_farthest_first_begins_with_the_extremes_and_keeps_all() -> None:
    keys = mlp_keys(axes_of(BASE), [CONTEXT])
    ordered = farthest_first(keys)
    assert [k.block.mlp_width for k in ordered[:2]] == [512, 8]
    assert sorted(ordered) == sorted(keys)
    assert farthest_first([]) == []
