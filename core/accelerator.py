"""Where tensors are computed on: the CPU, or a GPU through CUDA where there is one."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from nuwa_search.core.accelerator_choice import Accelerator
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.many_tokens import cpu_has_bf16

CPU = torch.device("cpu")

Found = TypeVar("Found")


def pick_device(accelerator: Accelerator, *, local_rank: int = 0) -> torch.device:
    """Resolve ``auto`` to CUDA where there is one, else the CPU.

    Args:
        accelerator: What is wanted.
        local_rank: Which GPU of this machine.

    Raises:
        NuwaError: If CUDA is asked for and there is none.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise NuwaError("no CUDA device here", hint="compute on the CPU with accelerator cpu or auto")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return CPU
    return torch.device("cuda", local_rank)


def device_of(model: nn.Module) -> torch.device:
    """Return the device that a net's weights lie on; the CPU for a net without weights."""
    found = next(model.parameters(), None)
    return CPU if found is None else found.device


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 natively; where it is emulated it is slower than FP32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_bf16()


def bf16_where_fast(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """Return the context that forward passes run in: bf16 where ``device`` multiplies it natively, else FP32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and has_bf16(device))


def with_less_at_once(run: Callable[[int], Found], at_once: int) -> Found:
    """Return ``run(at_once)``; where a GPU has no memory for that it begins again with half as much at once.

    Args:
        run: Is told how much it may take at once.
        at_once: In whatever ``run`` counts.

    Raises:
        torch.OutOfMemoryError: If there is no memory for one alone.
    """
    while True:
        try:
            return run(at_once)
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
        torch.cuda.empty_cache()  # does nothing where CUDA was never begun
        at_once //= 2


@contextlib.contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 convolutions in whole float32: cuDNN takes TF32 unless told not to. Products already are."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def run_in_parts(run: Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> Tensor:
    """Run ``inputs`` (N, ...) through ``run`` in batches, halved from where a GPU has no memory for one.

    Args:
        run: Gives (B, ...) of (B, ...).
        inputs: At least one.
        batch: Inputs at once, at most.

    Raises:
        torch.OutOfMemoryError: If there is no memory for one input alone.
    """
    parts: list[Tensor] = []
    done = 0
    while done < len(inputs):
        try:
            parts.append(run(inputs[done : done + batch]))
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            torch.cuda.empty_cache()  # does nothing where CUDA was never begun
            batch = max(1, batch // 2)
            continue
        done += batch
    return torch.cat(parts)
