"""How a search fine-tunes."""

import dataclasses

from nuwa_search.search.job.tune import finetune_config
from tests.support.train_toys import run


def test_large_images_are_fine_tuned_without_an_average_and_scored_at_the_end() -> None:
    config = finetune_config(steps=6, epochs=None, num_train=48, seed=0, has_fitted_head=True, is_large=True)
    result = run(dataclasses.replace(config, batch_size=16, precision="fp32", accelerator="cpu"))
    assert [(one.step, one.weights) for one in result.outcome.history] == [(0, "model"), (6, "model")]
