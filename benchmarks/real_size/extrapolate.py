"""From an old build's units to the CPU seconds of its whole search, with its own constants of 494cfc3.

Left out, which makes it faster than it was: its profile and export, scoring on the search split while it fine-tunes,
and fitting a head, which it did not do.
"""

import math
from collections.abc import Mapping

STATISTICS_IMAGES, SENSITIVITY_IMAGES = 1000, 256
LIBRARY_IMAGES = 128
TRIALS = 60
TRIAL_IMAGES = 128
"""Of 256: every trial counts as given up after the first, which makes the old build faster than it was."""
FINALISTS, FINALIST_IMAGES, REFINE_TOKENS = 6, 256, 65_000
"""And the winner once more, with as many images as that many tokens hold."""
STEPS, BATCH, VIEWS = 200, 64, 8


def old_seconds(units: Mapping[str, float]) -> dict[str, float]:
    """Extrapolate each stage of a search with default options.

    Args:
        units: CPU seconds of each unit, as ``old_units`` says them, and how many training images there are.
    """
    num_train = round(units["training images"])
    num_seen = min(STATISTICS_IMAGES, num_train)
    statistics = min(SENSITIVITY_IMAGES, num_train) * units["sensitivity per image"]
    statistics += num_seen * units["statistics per image"] + units["factorising"]
    cut = units["derive per cut"] + LIBRARY_IMAGES * units["run per cut and image"]
    net = units["derive per net"] + TRIAL_IMAGES * units["run per net and image"]
    most_refined = min(num_seen, REFINE_TOKENS // round(units["tokens per image"]))
    refined_images = FINALISTS * min(FINALIST_IMAGES, most_refined) + most_refined
    num_views = min(VIEWS, math.ceil(STEPS * BATCH / num_train))
    tuned = STEPS * BATCH * units["step per image"] + num_views * num_train * units["teacher per image"]
    stages = {
        "statistics": statistics,
        "cuts": units["cuts in all"] * cut,
        "study": TRIALS * net,
        "refine": (FINALISTS + 1) * units["refine beside"] + refined_images * units["refine per image"],
        "finetune": tuned,
    }
    return {name: round(value, 1) for name, value in stages.items()}
