"""Memory of this machine that ran out: told by what libraries raise, few of which have an error of their own for it."""

import sys
from pathlib import Path

from nuwa_search.core.errors import NuwaError, OutsideError

SIGNS = (
    "out of memory",  # torch: "CUDA out of memory", "CUDA error: out of memory"; SQLite; Pillow's decoders
    "can't allocate memory",  # torch 2.15's DefaultCPUAllocator, on Linux
    "not enough memory",  # the same on Windows and macOS
    "cannot allocate memory",  # ENOMEM as the C library words it: ONNX Runtime's threads, safetensors' maps
    "failed to allocate memory",  # ONNX Runtime 1.32: "Failed to allocate memory for requested buffer of size"
    "std::bad_alloc",  # C++ through any binding
    "bad allocation",  # the same, as Microsoft's library words it
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""What stands in the message of an error that means nothing else; looked for in lower case."""
VAGUE_SIGNS = (
    "could not create a primitive",  # oneDNN 3, by torch, where the code it generates finds no memory
    "could not execute a primitive",
    "could not create a memory object",
    "can't start new thread",  # Python: no memory for its stack, or no more threads allowed
)
"""What libraries also say of other faults: believed where memory is short."""
SHORT_BYTES = 512 * 2**20
"""Memory is short where no more is left: some times what one layer of a ViT-L takes with its scratch space (16 MiB of
weights, reordered, beside activations of a batch)."""
FREE_IT = (
    "close other programs or lift this process's limit; less is taken with one process (--workers 1), a smaller "
    "--img-size, a smaller base or fewer images"
)
FREE_IT_THERE = "free the GPU (nvidia-smi lists who uses it), or compute with --accelerator cpu"


class OutOfMemoryError(OutsideError, MemoryError):
    """Memory of this machine, or of its GPU, ran out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that this machine's memory ran out.

    A board that ran out of its own is a ``NuwaError`` of its device, and none of these.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, NuwaError):
        return False
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's, without loading torch
        return True
    said = str(error).lower()
    if any(sign in said for sign in SIGNS):
        return True
    return any(sign in said for sign in VAGUE_SIGNS) and is_memory_short()


def is_memory_short(least: int = SHORT_BYTES) -> bool:
    """Whether fewer than ``least`` bytes are left to this process, or nobody knows how many."""
    left = memory_left()
    return left is None or left < least


def memory_left() -> int | None:
    """Return the bytes that this process may still take: of its limit, or of what the machine has; None if unknown."""
    if sys.platform != "linux":
        return None
    import resource

    try:
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(told["MemAvailable"].split()[0]) * 1024
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, LookupError):
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, max(0, limit - taken))


def out_of_memory(error: BaseException, *, go_on: str = "") -> OutOfMemoryError:
    """Say in a sentence that memory ran out, whose, and what takes less.

    Args:
        error: For which ``is_out_of_memory`` holds.
        go_on: What goes on with what is saved; empty where nothing is.
    """
    if isinstance(error, OutOfMemoryError):
        return error
    said = (str(error).strip().splitlines() or [""])[0][:200]
    if any(sign in said.lower() for sign in VAGUE_SIGNS):
        left = memory_left()
        short = "" if left is None else f" with {left / 2**20:.0f} MB left"
        message = f"out of memory, by all signs: {said!r}{short}"
    else:
        message = f"out of memory: {said}" if said else "out of memory"
    is_gpu = any(word in said.lower() for word in ("cuda", "cublas", "cudnn"))
    hint = FREE_IT_THERE if is_gpu else FREE_IT
    return OutOfMemoryError(message, hint=f"{hint}; what is saved goes on with: {go_on}" if go_on else hint)
