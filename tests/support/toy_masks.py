"""Images whose pixels are told apart by their colour, with masks."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("background", "square", "stripe")
COLOURS = ((60, 60, 60), (200, 60, 60), (60, 60, 200))


def write_masks(folder: Path, *, num_train: int = 30, num_test: int = 10, size: tuple[int, int] = (24, 32)) -> Path:
    """Write grey pictures of ``size`` (H, W) with a red square or a blue stripe, as ``SPLIT/images`` and masks.

    Every third picture has neither. What is painted lies on a grid of 4 x 4 cells, which a linear head can tell apart.
    """
    rng = np.random.default_rng(0)
    height, width = size
    for split, count in (("train", num_train), ("test", num_test)):
        for name in ("images", "masks"):
            (folder / split / name).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(size, np.uint8)
            row, column = (int(rng.integers(0, 3)) * side // 4 for side in size)
            if number % 3 == 1:
                mask[row : row + height // 4, column : column + width // 4] = 1
            if number % 3 == 2:
                mask[:, column : column + width // 4] = 2
            pixels = np.asarray(COLOURS)[mask] + rng.integers(-20, 20, (*size, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder
