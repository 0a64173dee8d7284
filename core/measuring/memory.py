"""Peak memory of this process while a model is loaded and run."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nuwa_search.core.allocator import large_blocks_mapped
from nuwa_search.core.peak_memory import BYTES_PER_MB

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): writing 5 sets the peak resident size back to the current one


@dataclass
class MemoryPeak:
    """Filled when the watched code is done; None where the system cannot tell."""

    peak_mb: float | None = None


@contextmanager
def watch_memory() -> Iterator[MemoryPeak]:
    """Watch how far resident memory rises above where it was, in MB of 2^20 bytes (Linux with glibc only).

    Memory that the process freed and still holds is given back first: a model that fits into it would show no rise
    (the second of two equal models did not, by up to all of its weights).
    """
    peak = MemoryPeak()
    with large_blocks_mapped():
        before = _read_mb("VmRSS") if _trim() and _reset() else None
        yield peak
    high = _read_mb("VmHWM")
    if before is not None and high is not None:
        peak.peak_mb = max(0.0, high - before)


def _trim() -> bool:
    libc = _libc()
    if libc is None:
        return False
    libc.malloc_trim(0)  # its answer says only whether there was something to give back
    return True


@cache
def _libc() -> ctypes.CDLL | None:
    """Find the C library of this process; None where it cannot trim, as musl's and macOS's."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None


def _reset() -> bool:
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _read_mb(field: str) -> float | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / BYTES_PER_MB
    return None
