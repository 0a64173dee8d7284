"""Which images each step sees: a pure function of seed, step, part and process."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.seeds import generator_for


@dataclass(frozen=True)
class BatchPlan:
    """Cut each epoch's shuffled order into batches, and each batch over parts and processes.

    A batch never straddles two epochs; the images left over at the end of one wait for the next shuffle.

    Args:
        num_images: N.
        batch_size: Images per step over all parts and processes.
        parts: Gradient accumulation.
        processes: Number of processes.
        seed: Of the shuffles.
    """

    num_images: int
    batch_size: int
    parts: int
    processes: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return self.num_images // self.batch_size

    def epoch_of(self, step: int) -> int:
        """Return which pass over the data step number ``step`` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def indices(self, step: int, *, part: int = 0, rank: int = 0) -> Tensor:
        """Return the images of one part of one step for one process: (batch / parts / processes,) int64."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.num_images, self.seed, epoch)
        batch = order[place * self.batch_size : (place + 1) * self.batch_size]
        return batch.view(self.parts, self.processes, -1)[part, rank]


@lru_cache(maxsize=2)
def _order(num_images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(num_images, generator=generator_for(seed, "order", epoch))


def plan_batches(recipe: Recipe, *, num_images: int, processes: int) -> BatchPlan:
    """Plan batches of ``recipe.batch_size``, or of all images where there are fewer.

    Raises:
        NuwaError: If the batch cannot be split evenly over accumulation and processes.
    """
    shares = recipe.accumulate * processes
    batch = recipe.batch_size if recipe.batch_size <= num_images else num_images // shares * shares
    if batch == 0 or batch % shares:
        raise NuwaError(
            f"a batch of {min(recipe.batch_size, num_images)} images cannot be split into {recipe.accumulate} parts "
            f"for {processes} processes",
            hint=f"choose a batch size that is a multiple of {shares}",
        )
    return BatchPlan(num_images, batch, recipe.accumulate, processes, recipe.seed)
