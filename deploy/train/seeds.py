"""Random numbers as a pure function of a seed and a name, so that no generator state has to be saved."""

import hashlib

import torch


def generator_for(seed: int, *stream: int | str) -> torch.Generator:
    """Return a CPU generator that depends on ``seed`` and the names of its stream only.

    Args:
        seed: Of the run.
        stream: What the numbers are for, such as ``("order", epoch)``.
    """
    text = ":".join(str(part) for part in (seed, *stream))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
