"""From an old build's units to the CPU seconds of its whole search, with its own constants of 494cfc3.

Left out, which makes it faster than it was: its profile, decoding, measuring on the emulator, writing the bundle, and
fitting a head, which it did not do.
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
EVALUATIONS = 7
"""Of the whole search split in FP32: the refined winner, the student before the first step, its average every 50 steps,
and its own weights at the end."""
CHECKED_IMAGES = 64
"""Search images that the export was compared on."""
TARGET_IMAGES = 256
"""Search images that the base answers in FP32 before the first score."""


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
    num_search, num_test = round(units["search images"]), round(units["test images"])
    tuned = STEPS * BATCH * units["step per image"] + num_views * num_train * units["teacher per image"]
    tuned += EVALUATIONS * num_search * units["net in FP32 per image"]
    targets = min(TARGET_IMAGES, num_search) * units["base in FP32 per image"]
    verified = num_test * (units["base in FP32 per image"] + 2 * units["net in FP32 per image"])  # derived and tuned
    stages = {
        "statistics": statistics,
        "cuts": targets + units["cuts in all"] * cut,
        "study": TRIALS * net,
        "refine": (FINALISTS + 1) * units["refine beside"] + refined_images * units["refine per image"],
        "finetune": tuned,
        "export": min(CHECKED_IMAGES, num_search) * units["check of an export per image"],
        "verify": verified,
    }
    return {name: round(value, 1) for name, value in stages.items()}
