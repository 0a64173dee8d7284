import dataclasses
import math

import numpy as np
import pytest
import torch

from nuwa_search.core.logits import normalise
from nuwa_search.deploy.train.augment import box_mask, mix_targets, render
from nuwa_search.deploy.train.losses import smooth_targets
from nuwa_search.deploy.train.randaugment import apply_random_ops
from nuwa_search.deploy.train.recipe import NO_AUGMENT, AugmentConfig, Recipe
from nuwa_search.deploy.train.views import View, draw_view, view_of_epoch
from tests.support.train_toys import PREPROCESS, make_split

FULL = Recipe(
    augment=AugmentConfig(shift=0.2, jitter=0.3, erase=0.5, rand_ops=2, rand_magnitude=0.8), mixup=0.4, cutmix=1.0
)


def draw(recipe: Recipe, view: int = 0, num: int = 40) -> View:
    return draw_view(recipe, view, num_images=num, img_size=16)


def test_without_augmentation_pixels_are_only_normalised() -> None:
    images, every = make_split(40).images, torch.arange(40)
    out = render(images, draw(Recipe(augment=NO_AUGMENT)), every, PREPROCESS)
    assert torch.equal(out, normalise(images, PREPROCESS))


def test_a_view_is_a_function_of_seed_and_number_and_an_image_of_its_view() -> None:
    images = make_split(40).images
    first, again = draw(FULL, 3), draw(FULL, 3)
    batch = render(images, first, torch.tensor([5, 17, 30]), PREPROCESS)
    alone = render(images, again, torch.tensor([17]), PREPROCESS)
    torch.testing.assert_close(batch[1:2], alone, rtol=1e-5, atol=1e-5)
    for other in (draw(FULL, 4), draw(dataclasses.replace(FULL, seed=1), 3)):
        assert not torch.equal(other.shift, first.shift)


def test_views_repeat_after_their_number_and_never_with_zero() -> None:
    assert [view_of_epoch(Recipe(views=3), e) for e in range(5)] == [0, 1, 2, 0, 1]
    assert [view_of_epoch(Recipe(views=0), e) for e in range(5)] == [0, 1, 2, 3, 4]


def test_shift_and_flip_equal_padding_by_reflection() -> None:
    images = make_split(40).images
    recipe = Recipe(augment=AugmentConfig(shift=0.25))
    view = draw(recipe)
    out = render(images, view, torch.arange(40), PREPROCESS)
    expected = normalise(images, PREPROCESS).numpy()
    assert view.shift.abs().max() == 4
    for i in range(40):
        down, right = (int(v) for v in view.shift[i])
        image = expected[i][:, :, ::-1] if view.flip[i] else expected[i]
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")
        np.testing.assert_array_equal(out[i].numpy(), padded[:, 4 - down : 20 - down, 4 - right : 20 - right])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_mixing_images_and_targets_agree(mixup: float, cutmix: float) -> None:
    split = make_split(40)
    recipe = Recipe(augment=NO_AUGMENT, mixup=mixup, cutmix=cutmix)
    view, every = draw(recipe), torch.arange(40)
    plain = normalise(split.images, PREPROCESS)
    out = render(split.images, view, every, PREPROCESS)
    targets = mix_targets(smooth_targets(split.labels, 3, 0.0), view, every)
    for i in range(40):
        j, keep = int(view.partner[i]), float(view.keep[i])
        if mixup:
            torch.testing.assert_close(out[i], keep * plain[i] + (1 - keep) * plain[j], rtol=1e-4, atol=1e-4)
        else:
            mask = box_mask(view.paste[i : i + 1], plain)[0]
            assert float(mask.float().mean()) == pytest.approx(1 - keep, abs=1e-6)
            torch.testing.assert_close(out[i], torch.where(mask, plain[j], plain[i]))
        expected = torch.zeros(3)
        expected[split.labels[i]] += keep
        expected[split.labels[j]] += 1 - keep
        torch.testing.assert_close(targets[i], expected)


def test_with_both_about_half_of_the_images_are_pasted() -> None:
    view = draw(Recipe(mixup=0.4, cutmix=1.0), num=2000)
    pasted = (view.paste[:, 1] > view.paste[:, 0]).float().mean()
    assert 0.4 < float(pasted) < 0.55  # boxes that fall on nothing are empty


def test_erasing_blanks_the_share_it_says_with_the_mean() -> None:
    recipe = Recipe(augment=AugmentConfig(flip=False, shift=0.0, erase=1.0))
    view = draw(recipe, num=500)
    area = (view.erase[:, 1] - view.erase[:, 0]) * (view.erase[:, 3] - view.erase[:, 2])
    assert float(area.min()) / 256 > 0.01
    assert float(area.max()) / 256 < 0.4
    out = render(make_split(500).images, view, torch.arange(500), PREPROCESS)
    assert torch.equal((out == 0).all(dim=1).sum(dim=(1, 2)) >= area, torch.ones(500, dtype=torch.bool))


def test_everything_at_once_stays_in_range() -> None:
    split = make_split(40)
    out = render(split.images, draw(FULL), torch.arange(40), PREPROCESS)
    mean = torch.tensor(PREPROCESS.mean).view(1, 3, 1, 1)
    pixels = out * torch.tensor(PREPROCESS.std).view(1, 3, 1, 1) + mean
    assert out.isfinite().all()
    assert pixels.min() > -1e-4
    assert pixels.max() < 1 + 1e-4
    assert not torch.equal(out, normalise(split.images, PREPROCESS))


def test_no_magnitude_no_change_but_autocontrast() -> None:
    from nuwa_search.deploy.train.randaugment import COLOUR_OPS, NUM_GEOMETRIC, apply_random_ops

    images = torch.rand(13, 3, 16, 16)
    kinds = torch.arange(13)[:, None] % (NUM_GEOMETRIC + len(COLOUR_OPS))
    out = apply_random_ops(images, kinds, torch.zeros(13, 1))
    autocontrast = NUM_GEOMETRIC + 6
    for kind in range(13):
        if kind not in (autocontrast, NUM_GEOMETRIC + 4):  # posterize rounds to 8 bits
            torch.testing.assert_close(out[kind], images[kind], rtol=1e-3, atol=1e-3)
    assert float(out[autocontrast].amin()) == pytest.approx(0, abs=1e-6)
    assert float(out[autocontrast].amax()) == pytest.approx(1, abs=1e-6)


def test_views_of_oblong_images_stay_inside_them() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (40, 3, 12, 28), dtype=torch.uint8, generator=generator)
    augment = AugmentConfig(shift=0.25, jitter=0.0, erase=1.0, rand_ops=0)
    recipe = Recipe(augment=augment, mixup=0.0, cutmix=1.0)
    view = draw_view(recipe, 0, num_images=40, img_size=(12, 28))
    assert view.shift.abs().amax(dim=0).tolist() == [3, 7]
    for box in (view.erase, view.paste):
        assert box[:, 1].max() <= 12 < box[:, 3].max() <= 28
        assert (box[:, ::2] >= 0).all()
    pasted = (view.paste[:, 1] - view.paste[:, 0]) * (view.paste[:, 3] - view.paste[:, 2])
    torch.testing.assert_close(view.keep, 1 - pasted / (12 * 28))
    half = view.at_size((6, 14), old=(12, 28))
    assert (half.erase - view.erase / 2).abs().max() <= 0.5
    moved = dataclasses.replace(view, erase=0 * view.erase, paste=0 * view.paste, keep=torch.ones(40), is_mixed=False)
    out = render(images, moved, torch.arange(40), PREPROCESS)
    whole = normalise(images, PREPROCESS).numpy()
    for i in range(40):
        seen = whole[i, :, :, ::-1] if moved.flip[i] else whole[i]
        down, right = moved.shift[i].tolist()
        padded = np.pad(seen, ((0, 0), (3, 3), (7, 7)), mode="reflect")
        wanted = padded[:, 3 - down : 15 - down, 7 - right : 35 - right]
        np.testing.assert_array_equal(out[i].numpy(), wanted)


def test_a_turn_of_an_oblong_image_is_one_in_pixels() -> None:
    bar = torch.zeros(1, 3, 25, 61)
    bar[..., 12, 22:39] = 1.0
    rotate = torch.zeros(1, 1, dtype=torch.int64)
    turned = apply_random_ops(bar, rotate, torch.ones(1, 1))[0, 0]
    y, x = (axis - axis.mean() for axis in torch.meshgrid(torch.arange(25.0), torch.arange(61.0), indexing="ij"))
    xx, yy, xy = (float((turned * a * b).sum()) for a, b in ((x, x), (y, y), (x, y)))
    assert abs(math.degrees(math.atan2(2 * xy, xx - yy) / 2)) == pytest.approx(30, abs=1)
