"""Peak memory of this process while a model is loaded and run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): writing 5 sets the peak resident size back to the current one


@dataclass
class MemoryPeak:
    """Filled when the watched code is done; None where the system cannot tell."""

    peak_mb: float | None = None


@contextmanager
def watch_memory() -> Iterator[MemoryPeak]:
    """Watch how far resident memory rises above where it was, in MiB (Linux only)."""
    peak = MemoryPeak()
    before = _read_mb("VmRSS") if _reset() else None
    yield peak
    high = _read_mb("VmHWM")
    if before is not None and high is not None:
        peak.peak_mb = max(0.0, high - before)


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
            return int(line.split()[1]) / 1024
    return None
