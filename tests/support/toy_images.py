"""Images that are told apart by their colour."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_colours(folder: Path, names: tuple[str, ...], *, num_train: int = 30) -> Path:
    """Write noisy colour patches as ``split/class/number.png``, ``num_train`` per class for training."""
    rng = np.random.default_rng(0)
    for split, count in (("train", num_train), ("test", 10)):
        for channel, name in enumerate(names):
            target = folder / split / name
            target.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3))
                pixels[..., 2 - channel] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(target / f"{number}.png")
    return folder
