"""How a search fine-tunes."""

import dataclasses

from nuwa_search.search.job.tune import finetune_config
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
