"""A teacher that sees the same pictures larger than its student does."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.losses import distil_kl
from nuwa_search.deploy.train.recipe import NO_AUGMENT, AugmentConfig
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.deploy.train.views import draw_view
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit

SMALL = 8


def smaller(split: SplitTensors) -> SplitTensors:
    images = F.interpolate(split.images.float(), size=SMALL, mode="area").round().to(torch.uint8)
    return SplitTensors(images, split.labels)


def small_task() -> TaskTensors:
    preprocess = dataclasses.replace(PREPROCESS, img_size=SMALL)
    return TaskTensors(smaller(make_split(48)), smaller(make_split(24, seed=9)), preprocess)


def test_choices_in_pixels_are_scaled_and_the_others_stay() -> None:
    config = dataclasses.replace(CONFIG, augment=AugmentConfig(flip=True, shift=0.25, erase=1.0), cutmix=1.0)
    view = draw_view(config, 0, num_images=30, img_size=16)
    half = view.at_size(8, old=16)
    for name in ("shift", "erase", "paste"):
        doubled = 2 * getattr(half, name) - getattr(view, name)
        assert int(doubled.abs().max()) <= 1  # of rounding to whole pixels
    assert torch.equal(half.flip, view.flip)
    assert torch.equal(half.keep, view.keep)
    assert torch.equal(half.partner, view.partner)
    assert view.at_size(16, old=16) is view


def test_the_loss_is_against_the_teacher_on_its_own_larger_images() -> None:
    """One step over all images, nothing drawn: the distillation is the closed form on both sizes."""
    train, teacher = make_split(48), make_vit(seed=2, num_heads=4)
    student = vit_at_size(make_vit(seed=1), SMALL, name="student")
    config = dataclasses.replace(
        CONFIG, steps=1, batch_size=48, eval_every=1, warmup_steps=0, alpha=1.0, augment=NO_AUGMENT
    )
    told: list[dict[str, float]] = []
    finetune(
        student,
        small_task(),
        teacher=Teacher(teacher, train=train),
        config=config,
        progress=lambda state: told.append(state.losses),
    )
    with torch.no_grad():
        said = teacher(normalise(train.images, PREPROCESS))
        seen = student(normalise(smaller(train).images, PREPROCESS))
        wanted = float(distil_kl(seen, said, config.temperature))
    (losses,) = [one for one in told if "distil" in one][:1]
    assert losses["distil"] == pytest.approx(wanted, rel=1e-4)


def test_a_smaller_student_needs_a_teacher_with_images_of_its_own() -> None:
    student = vit_at_size(make_vit(seed=1), SMALL, name="student")
    with pytest.raises(NuwaError, match="the student takes 8 px images and its teacher 16 px"):
        finetune(student, small_task(), teacher=Teacher(make_vit(seed=2)), config=CONFIG)
    others = make_split(48)
    shuffled = SplitTensors(others.images, others.labels.flip(0))
    with pytest.raises(NuwaError, match="not the student's, in their order"):
        finetune(student, small_task(), teacher=Teacher(make_vit(seed=2), train=shuffled), config=CONFIG)
