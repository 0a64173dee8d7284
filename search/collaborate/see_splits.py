"""Run the sub-models over the splits that modes are scored on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.collaborate.ensemble import Ensemble, vectors_of
from nuwa_search.search.collaborate.gate import Gate
from nuwa_search.search.collaborate.seen import Seen, SeenPixels
from nuwa_search.search.job.inputs import Inputs


@dataclass(frozen=True)
class SeenSplits:
    """Outputs of the sub-models on the splits that modes are scored on.

    Args:
        search: Chooses thresholds.
        test: What is reported.
    """

    search: Seen
    test: Seen


def see_splits(ensemble: Ensemble, inputs: Inputs, test: SplitTensors, *, gate: Gate | None = None) -> SeenSplits:
    """Run the sub-models, and the gate after them, over the search split and the test split.

    Args:
        ensemble: Whose sub-models.
        inputs: Base, task and decoded search images.
        test: Decoded test images.
        gate: The single subnet where it takes part.
    """
    models = (*ensemble.vits, *(() if gate is None else (gate.model,)))
    return SeenSplits(*(_seen(models, split, inputs) for split in (inputs.tensors.search, test)))


def _seen(models: Sequence[PlainViT], split: SplitTensors, inputs: Inputs) -> Seen:
    vectors = vectors_of(models, split.images, inputs.base.preprocess)
    pixels = None if split.truths is None else SeenPixels(split.truths, models[0].arch.grid)
    return Seen(tuple(np.ascontiguousarray(v.numpy(), np.float32) for v in vectors), split.labels.numpy(), pixels)
