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


def write_four_colours(folder: Path) -> Path:
    """Write the three colours and a fourth class that is grey, for tasks that are cut into groups of two."""
    write_colours(folder, ("blue", "green", "red"))
    rng = np.random.default_rng(1)
    for split, count in (("train", 30), ("test", 10)):
        target = folder / split / "grey"
        target.mkdir()
        for number in range(count):
            pixels = rng.integers(60, 160, (16, 16, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(target / f"{number}.png")
    return folder
