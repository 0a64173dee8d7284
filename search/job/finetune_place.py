"""In how many processes a search fine-tunes, and what must be free where they run."""

from dataclasses import dataclass

import torch

from nuwa_search.core.accelerator import pick_device
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.train.batches import plan_batches
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.request import SearchRequest


@dataclass(frozen=True)
class FinetunePlace:
    """Where a search fine-tunes.

    Args:
        processes: Of one machine; they split each batch.
        needs: What they take there together.
    """

    processes: int
    needs: Needs

    @property
    def said(self) -> tuple[str, ...]:
        """A note for people; none for one process on cores, which is the usual."""
        if self.processes == 1 and not self.needs.gpus:
            return ()
        count = "1 process" if self.processes == 1 else f"{self.processes} processes (torchrun)"
        return (f"fine-tuning in {count}: {self.needs.words}",)


def finetune_place(
    request: SearchRequest, executor: Executor, config: FinetuneConfig, *, num_images: int
) -> FinetunePlace:
    """Choose the processes: as many as asked for, else one for each GPU of the largest node of a cluster, else one.

    Args:
        request: Of the search.
        executor: Where its work runs.
        config: Of its fine-tuning.
        num_images: Training images.

    Raises:
        NuwaError: If a batch cannot be split evenly over so many, or this machine has fewer GPUs.
    """
    on_gpus = request.accelerator != "cpu" and executor.gpus > 0
    count = request.finetune_processes
    if count is None:
        count = _most_that_share(config, executor.gpus, num_images=num_images) if on_gpus else 1
    _require_shares(config, count, num_images=num_images)
    if request.executor == "local" and count > 1 and pick_device(request.accelerator).type == "cuda":
        _require_gpus(count)
    if on_gpus:
        _require_cluster_gpus(count, executor.gpus)
        # a core for each GPU: the node with the most GPUs may have few
        return FinetunePlace(count, Needs("fine-tuning", cpus=count, gpus=count))
    return FinetunePlace(count, Needs("fine-tuning", cpus=max(executor.threads, count)))


def _most_that_share(config: FinetuneConfig, gpus: int, *, num_images: int) -> int:
    """Return the most processes, up to ``gpus``, over which a batch is split evenly."""
    return next(n for n in range(gpus, 0, -1) if n == 1 or _can_share(config, n, num_images=num_images))


def _can_share(config: FinetuneConfig, processes: int, *, num_images: int) -> bool:
    try:
        plan_batches(config, num_images=num_images, processes=processes)
    except NuwaError:
        return False
    return True


def _require_shares(config: FinetuneConfig, processes: int, *, num_images: int) -> None:
    if processes > 1 and not _can_share(config, processes, num_images=num_images):
        batch = min(config.batch_size, num_images)
        fitting = [n for n in range(1, processes) if _can_share(config, n, num_images=num_images)]
        raise NuwaError(
            f"a batch of {batch} images cannot be split evenly over --finetune-processes {processes}",
            hint=f"--finetune-processes {max(fitting, default=1)}",
        )


def _require_cluster_gpus(processes: int, gpus: int) -> None:
    if processes > gpus:
        raise NuwaError(
            f"--finetune-processes {processes} were asked for, and no node of the cluster has more than {gpus} GPU"
            f"{'' if gpus == 1 else 's'}",
            hint=f"--finetune-processes {gpus}, or --accelerator cpu",
        )


def _require_gpus(processes: int) -> None:
    there = torch.cuda.device_count()
    if processes > there:
        raise NuwaError(
            f"--finetune-processes {processes} were asked for, and this machine has {there} GPU"
            f"{'' if there == 1 else 's'}",
            hint=f"--finetune-processes {there}, or --accelerator cpu",
        )
