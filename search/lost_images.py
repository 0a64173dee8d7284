"""Test images that the base had right and what is shipped has wrong: what the cut cost, to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.json_fields import JsonFields

MAX_KEPT = 24
"""Of the images, the surest mistakes first: as many as people look through."""


@dataclass(frozen=True)
class LostImage:
    """A test image that the base had right and the shipped model wrong.

    Args:
        file: Below the folder of the data; None where its images lie in Parquet files.
        hash: Of its file (``ImageSet.hashes``), by which it is known again.
        label: Its class.
        base: What the base with the task's head answered, which is the label.
        winner: What the shipped model answered.
        confidence: Of that answer, 0..1.
    """

    file: str | None
    hash: str
    label: str
    base: str
    winner: str
    confidence: float


@dataclass(frozen=True)
class LostImages(JsonFields):
    """How many there are, how many the other way round, and the first of them.

    Args:
        num_lost: Right by the base, wrong by what is shipped.
        num_won: Wrong by the base, right by what is shipped.
        images: At most ``MAX_KEPT`` of the lost, the surest mistakes first.
    """

    num_lost: int
    num_won: int
    images: Sequence[LostImage]
