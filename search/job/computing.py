"""What a search computes on."""

import torch

from nuwa_search.core.accelerator import CPU, pick_device
from nuwa_search.search.request import SearchRequest


def computing_device(request: SearchRequest) -> torch.device:
    """Return the device that statistics, scores and fine-tuning are computed on.

    Several processes share no GPU, and the nodes of a cluster score on their cores.

    Raises:
        NuwaError: If CUDA is asked for and there is none.
    """
    return CPU if request.workers > 1 or request.executor == "ray" else pick_device(request.accelerator)


def said_device(device: torch.device) -> tuple[str, ...]:
    """Return a note that names the GPU; none for the CPU."""
    return () if device == CPU else (f"computed on {device}, {torch.cuda.get_device_name(device)}",)
