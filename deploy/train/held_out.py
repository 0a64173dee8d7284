"""Hold images out of base training by their hash, so that later searches know what the base never saw."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet

HELD_OUT_FILE = "search_split.json"
"""Beside the base's weights; ``nuwa_search.core.base.load_base`` reads it."""


@dataclass(frozen=True)
class HeldOut:
    """Images split into those to train on and those kept out, with the latter's hashes."""

    train: ImageSet
    search: ImageSet
    hashes: frozenset[str]


def hold_out(images: ImageSet, fraction: float, *, seed: int = 0) -> HeldOut:
    """Keep a fraction of each class out of training, at least one image.

    Copies of one file share a hash and stay together, so no held-out image is trained on under another
    index.

    Raises:
        NuwaError: If a class has fewer than two different images.
    """
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for label, name in enumerate(images.label_names):
        members = sorted({images.hashes[i] for i in np.flatnonzero(images.labels == label)})
        if len(members) < 2:
            raise NuwaError(
                f"class {name!r} has {len(members)} different images in {images.origin}, wanted at least 2",
                hint="leave the class out, or add images",
            )
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        chosen |= {members[i] for i in rng.permutation(len(members))[:count]}
    is_held = np.asarray([h in chosen for h in images.hashes])
    train, search = images.take(np.flatnonzero(~is_held)), images.take(np.flatnonzero(is_held))
    return HeldOut(train, search, frozenset(chosen))


def write_hashes(folder: Path, hashes: frozenset[str]) -> None:
    """Record the held-out images beside a base."""
    (folder / HELD_OUT_FILE).write_text(json.dumps({"hashes": sorted(hashes)}, indent=0))
