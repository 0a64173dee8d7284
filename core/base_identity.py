"""Identify a base: its weights, and what makes images its input where that is not what ids have always meant."""

import dataclasses
import hashlib
import json

from nuwa_search.core.images import Preprocess
from nuwa_search.core.pipeline import FIRST_PIPELINE

UNHASHED = Preprocess(img_size=32, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
"""How images are made for the base in the package: CIFAR-100's mean and deviation, bicubic, uncropped. Ids of 494cfc3
hashed weights alone; what is as here stays out of the hash, so that its id is what it was."""

_MARK = "+"
# The side is the arch's, the version is the task's.
_ELSEWHERE = ("img_size", "pipeline")


def identify_base(weights_id: str, preprocess: Preprocess) -> str:
    """Name a base by weights and preprocessing: other mean, deviation, crop or interpolation give other scores.

    Args:
        weights_id: Hash of its arch and tensors.
        preprocess: How its images are made. Version 1 of the steps is left out of every hash.

    Returns:
        ``weights_id``, with a mark and 8 hex digits behind it where the preprocessing counts.
    """
    usual = dataclasses.asdict(UNHASHED)
    values = dataclasses.asdict(preprocess)
    other = {name: value for name, value in values.items() if name not in _ELSEWHERE and value != usual[name]}
    if preprocess.pipeline == FIRST_PIPELINE or not other:
        return weights_id
    digest = hashlib.sha256(json.dumps(other, sort_keys=True).encode()).hexdigest()[:8]
    return f"{weights_id}{_MARK}{digest}"


def weights_of(base_id: str) -> str:
    """Read the part of a base's id that names its weights."""
    return base_id.partition(_MARK)[0]


def said_difference(before: str, now: str) -> str:
    """Return what makes two ids of bases differ: the way images are made alone, or the weights."""
    if weights_of(before) != weights_of(now):
        return "its weights are others"
    return "its weights are the same, and images are made otherwise: mean, std, crop or interpolation were changed"
