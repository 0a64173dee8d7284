"""The processes of one run: one, or several started by torchrun."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nuwa_search.core.errors import NuwaError

PATIENCE_S = 600.0
"""For the slowest process to end a step, compiled or on a busy machine: NCCL's own default; gloo's is half an hour."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is.

    Args:
        rank: 0..count-1.
        count: 1 without torchrun.
        local_rank: Index of this process on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Add up a tensor over all processes; every one gets the same result."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        return self.sum(value) / self.count if self.count > 1 else value

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the group that was joined: this process is done with the others."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Average gradients over processes with DDP; the module itself when alone."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, device_ids=[device.index] if device.type == "cuda" else None)


def join_processes(*, patience_s: float = PATIENCE_S) -> Processes:
    """Join the process group that torchrun describes in the environment; alone without one.

    Args:
        patience_s: Seconds that one process waits for another before it gives up; of the call that joins.

    Raises:
        NuwaError: If the environment is torchrun's but not whole.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise NuwaError(f"WORLD_SIZE is {count} but {', '.join(missing)} is not set", hint="start with torchrun")
    if not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=patience_s))
    local_rank = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    return Processes(rank=int(os.environ["RANK"]), count=count, local_rank=local_rank)
