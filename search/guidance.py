"""What is known before a study's first trial, and leads it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.search.explore import Explorer
from nuwa_search.search.library import Library
from nuwa_search.search.seeds import Seed


@dataclass(frozen=True)
class Guidance:
    """What a study starts from; without any, it learns from its trials alone.

    Args:
        library: Scores of single replacements; without it the accuracy predictor starts from nothing.
        seeds: First trials; None computes them from library and latency predictor, ``()`` is none.
        explorer: Finds nets worth scoring before the first trial, and predicts whole nets from changed logits.
    """

    library: Library | None = None
    seeds: Sequence[Seed] | None = None
    explorer: Explorer | None = None
