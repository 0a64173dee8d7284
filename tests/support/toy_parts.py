"""A thousand good parts and ten cracked ones, a kind of images that an accuracy of all images is blind to."""

from pathlib import Path

import numpy as np
from PIL import Image

NUM_GOOD, NUM_CRACKED = 1000, 10


def write_parts(folder: Path) -> Path:
    """Write ``good/N.png`` of grey levels 80 to 120, evenly, and ``cracked/N.png`` of 118.

    Of a thousand good parts far more than ten are as bright as the cracked ones, so that whoever counts images
    answers "good" to every one of them; three good parts in four are darker than half-way to the cracked.
    """
    rng = np.random.default_rng(0)
    for name, levels in (("good", np.linspace(80, 120, NUM_GOOD)), ("cracked", np.full(NUM_CRACKED, 118.0))):
        target = folder / name
        target.mkdir(parents=True)
        for number, level in enumerate(levels):
            pixels = level + rng.integers(-2, 3, (16, 16, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(target / f"{number}.png")
    return folder
