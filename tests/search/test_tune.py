"""How a search fine-tunes."""

import dataclasses
from typing import Any

import pytest
import torch

from nuwa_search.search.job.tune import finetune_config, is_one_cpu
from nuwa_search.search.request import SearchRequest
from tests.support.train_toys import run


def test_large_images_are_fine_tuned_without_an_average_and_scored_at_the_end() -> None:
    config = finetune_config(steps=6, epochs=None, num_train=48, seed=0, has_fitted_head=True, is_large=True)
    result = run(dataclasses.replace(config, batch_size=16, precision="fp32", accelerator="cpu"))
    assert [(one.step, one.weights) for one in result.outcome.history] == [(0, "model"), (6, "model")]


def test_nets_for_pixels_begin_with_their_own_head_and_take_steps_in_proportion() -> None:
    for is_large in (False, True):
        config = finetune_config(
            steps=None,
            epochs=None,
            num_train=300,
            seed=0,
            has_fitted_head=True,
            is_large=is_large,
            kind="segmentation",
        )
        assert config.refit_head
        assert (config.mixup, config.cutmix, config.augment.rand_ops) == (0, 0, 0), "masks do not follow"
        assert config.lr_of_rms == is_large
    epochs = finetune_config(
        steps=None, epochs=2, num_train=300, seed=0, has_fitted_head=True, is_large=True, kind="segmentation"
    )
    assert epochs.steps == 2 * -(-300 // epochs.batch_size)


def test_the_teacher_sees_no_view_that_is_used_in_part_only() -> None:
    def views(num_train: int, steps: int | None = None) -> int:
        return finetune_config(steps=steps, epochs=None, num_train=num_train, seed=0, has_fitted_head=False).views

    assert views(2000) == 3  # 100 steps of 64 images are 3.2 passes
    assert views(50) == 8
    assert views(20_000) == 1
    assert views(640, steps=40) == 4


def test_large_images_take_short_steps_in_parts() -> None:
    small, large = (
        finetune_config(steps=None, epochs=None, num_train=1200, seed=0, has_fitted_head=True, is_large=is_large)
        for is_large in (False, True)
    )
    assert large.lr < small.lr
    assert large.steps * large.batch_size < small.steps * small.batch_size
    assert (large.accumulate, small.accumulate) == (2, 1)


@pytest.mark.parametrize(
    ("asked", "has_gpu", "is_one"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"accelerator": "cpu"}, True, True),
        ({"finetune_processes": 2}, False, False),
        ({"executor": "ray"}, False, False),  # a node may have GPUs
        ({"accelerator": "cuda"}, False, True),  # refused elsewhere, with a reason
    ],
)
def test_batches_are_parted_for_one_process_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], has_gpu: bool, is_one: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert is_one_cpu(SearchRequest(budget_ms=5.0, **asked)) is is_one
