"""The C allocator told to keep what is freed: layers of many tokens ask for the same large blocks again and again."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``, from its ``malloc.h``."""
MOST_KEPT = 2**31 - 1
"""Bytes at the end of the heap that stay: the largest that ``mallopt`` takes."""
MOST_MAPPED = 65_536
"""Blocks that glibc maps at most where nobody says otherwise, from its ``malloc.c``."""
OWN_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
"""Variables by which somebody has decided otherwise; so has who names malloc in ``GLIBC_TUNABLES``."""


class _Kept:
    """Whether this process keeps what is freed: ``mallopt`` has no answer to that question."""

    is_on = False


_KEPT = _Kept()


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, and say whether that was possible.

    glibc maps what is larger than 32 MB anew for each allocation and gives it back when it is freed, so that every
    page of every activation is cleared by the kernel once more. Scoring a 30 ms net of the default base on 96 images
    met 150 000 to 166 000 page faults that way and none when they were kept, and took 2.1, 1.6 and 1.9 CPU seconds
    instead of 2.8, 2.4 and 2.8 in the same three runs (one thread, busy machine; no command of the project repeats
    it). Other C libraries are left as they are.
    """
    if any(name in os.environ for name in OWN_SETTINGS) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is None:
        return False
    _KEPT.is_on = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))
    return _KEPT.is_on


@contextlib.contextmanager
def large_blocks_mapped() -> Iterator[None]:
    """Map large blocks one by one for the length of a block of code, and keep them again behind it.

    Memory is measured so: on a heap that keeps what is freed, what a model adds depends on the holes in it. Behind 300
    allocations of odd sizes on such a heap the same net was told 117 to 137 MB instead of 109 in every process
    tried, and mapped in two of seven, as holes are still used first (no command of the project repeats it).
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is None or not _KEPT.is_on:
        yield
        return
    mallopt(M_MMAP_MAX, MOST_MAPPED)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 0)


def give_back_memory() -> None:
    """Return what is kept and unused to the system."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # no such thing on Windows
        return None
