"""Images that are not square: sizes as values, archs of them, and nets against timm's."""

import dataclasses
import json
from typing import cast

import pytest
import timm
import torch
from timm.data import create_transform
from timm.models import VisionTransformer

from nuwa_search.core.arch import Arch, BlockSpec, arch_from_dict, dict_from_arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_timm import plain_from_timm
from nuwa_search.core.images import CropMode, Preprocess, pixels
from nuwa_search.core.img_size import (
    ImgSize,
    checked_img_size,
    grid_of,
    img_size_from_text,
    json_from_img_size,
    nearest_cut,
    size_words,
)
from nuwa_search.core.tasks.masks import fitted_mask
from nuwa_search.core.vit_at_size import vit_at_size
from tests.core.test_from_timm import randomise
from tests.core.test_images import SIZES, encode, one, picture

SQUARE = Arch((BlockSpec(2, 8, 8, 32),), 16, 5, 32, 8)


@pytest.mark.parametrize(
    ("text", "size"), [("224", 224), ("224x168", (224, 168)), ("224X224", 224), (" 160 × 288 ", (160, 288))]
)
def test_sizes_are_read_as_they_are_written(text: str, size: ImgSize) -> None:
    assert img_size_from_text(text) == size
    assert img_size_from_text(size_words(size)) == size
    assert checked_img_size(json.loads(json.dumps(json_from_img_size(size)))) == size


@pytest.mark.parametrize("text", ["", "224x", "x224", "1x2x3", "-1", "0x4", "224.0", "20000", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(NuwaError, match="--img-size"):
        img_size_from_text(text)


def test_a_square_is_one_number_however_it_is_written() -> None:
    pair = dataclasses.replace(SQUARE, img_size=(32, 32))
    assert pair == SQUARE
    assert (pair.img_size, pair.arch_id, pair.grid) == (32, SQUARE.arch_id, (4, 4))
    assert Preprocess((32, 32)) == Preprocess(32)
    assert SQUARE.arch_id == "2484d6c702335f9d"  # as this arch had before there were other images


def test_an_arch_of_other_images_has_its_own_id_and_comes_back_from_json() -> None:
    wide = dataclasses.replace(SQUARE, img_size=(32, 48))
    tall = dataclasses.replace(SQUARE, img_size=(48, 32))
    assert len({SQUARE.arch_id, wide.arch_id, tall.arch_id}) == 3
    assert (wide.grid, wide.num_patches, wide.num_tokens) == ((4, 6), 24, 25)
    stored = json.loads(json.dumps(dict_from_arch(wide)))
    assert stored["img_size"] == [32, 48]
    assert arch_from_dict(stored) == wide
    for wrong in ([32], [32, 48, 3], [32, 0], [32, 44], [32.0, 48], "32x48", [2**15, 32]):
        with pytest.raises(NuwaError, match="img_size"):
            arch_from_dict(stored | {"img_size": wrong})


def test_the_first_preprocessing_made_squares_only() -> None:
    with pytest.raises(NuwaError, match="version 1 made squares only, found 32x48"):
        Preprocess((32, 48), pipeline=1)


def test_learnt_positions_are_resampled_as_timm_does() -> None:
    size = (224, 168)
    torch.manual_seed(0)
    model = randomise(timm.create_model("vit_small_patch14_dinov2", depth=2, num_classes=5, img_size=size))
    plain = plain_from_timm(model, name="dinov2")
    square = randomise(timm.create_model("vit_small_patch14_dinov2", depth=2, num_classes=5, img_size=280))
    resized = vit_at_size(plain_from_timm(square, name="dinov2"), size, name="dinov2")
    cast(VisionTransformer, square).set_input_size(img_size=size)
    images = torch.randn(2, 3, *size)
    for mine, theirs in ((plain, model), (resized, square)):
        assert mine.arch.img_size == size
        with torch.no_grad():
            wanted = theirs(images)
            assert (mine(images) - wanted).norm() <= 1e-5 * wanted.norm()


def test_rotary_positions_are_those_of_timm() -> None:
    name, size = "vit_small_patch16_dinov3", (256, 192)
    torch.manual_seed(0)
    model = randomise(timm.create_model(name, depth=2, num_classes=5, img_size=size))
    plain = plain_from_timm(model, name=name)
    other = vit_at_size(plain, (128, 160), name=name)  # timm's own takes any size
    for vit, sides in ((plain, size), (other, (128, 160))):
        images = torch.randn(2, 3, *sides)
        with torch.no_grad():
            wanted = model(images)
            assert (vit(images) - wanted).norm() <= 1e-5 * wanted.norm()


def test_a_size_that_patches_do_not_fill_is_refused_with_the_nearest() -> None:
    model = plain_from_timm(timm.create_model("vit_small_patch14_dinov2", depth=1, img_size=28), name="dinov2")
    with pytest.raises(NuwaError, match="images of 224x160 pixels cannot be cut into patches of 14") as caught:
        vit_at_size(model, (224, 160), name="base")
    assert "such as 224x154" in caught.value.hint
    assert (nearest_cut((5, 30), 14), grid_of((28, 14), 14)) == ((14, 28), (2, 1))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "pct"), [((56, 40), 1.0), ((40, 72), 0.9), ((72, 24), 0.875), ((30, 31), 3.0)])
def test_pixels_are_those_of_timm(mode: CropMode, size: tuple[int, int], pct: float) -> None:
    preprocess = Preprocess(size, crop_pct=pct, crop_mode=mode, mean=(0.4,) * 3)
    transform = create_transform(
        (3, *size), interpolation="bicubic", mean=(0.4,) * 3, crop_pct=pct, crop_mode=mode, normalize=False
    )
    for seed, (width, height) in enumerate(SIZES):
        image = picture(width, height, seed=seed)
        found = pixels(one(encode(image)), preprocess)
        assert found.shape == (1, 3, *size)
        assert (found[0] == transform(image).numpy()).all(), (width, height)


def test_masks_are_squashed_like_their_images() -> None:
    mask = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    assert fitted_mask(mask.numpy(), (6, 4)).tolist() == mask.repeat_interleave(2, dim=0).tolist()
