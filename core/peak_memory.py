"""What peak memory counts, on every device alike.

The most memory that loading and running one model adds on the device: its weights, its activations and the scratch
memory of its kernels. What the runtime or the CUDA context hold before any model, and what other programs hold, is
not counted: boards report it in different ways or not at all, and no subnet changes it. A device that cannot tell
this figure tells none.
"""

PEAK_MEMORY_COUNTS = (
    "what loading and running the model adds: weights, activations, scratch; no runtime or CUDA context"
)
"""The definition in one line, as certificates carry it."""

BYTES_PER_MB = 2**20
"""Boards, CUDA and ``/proc`` count in units of 2^20 bytes, and so does every ``_mb`` of memory here."""
