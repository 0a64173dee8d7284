"""Find the INT8 model that keeps the accuracy: all blocks, or all but those that suffer most."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

from nuwa_search.core.class_scores import ClassScores, class_scores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric
from nuwa_search.core.runtime import FloatArray, Images, Runtime
from nuwa_search.deploy.quantise.qdq import Int8Quantiser
from nuwa_search.deploy.quantise.sensitivity import BlockSensitivity, block_sensitivities
from nuwa_search.deploy.runtimes.batches import run_batches

SENSITIVITY_IMAGES = 128
"""Images that blocks are compared on, one session per block: a ranking needs fewer than an accuracy does."""


@dataclass(frozen=True)
class MixedModel:
    """A quantised model that loses little enough.

    Args:
        model: The graph.
        float_blocks: Blocks left in FP32.
        before: Scores of the FP32 graph on the images it was chosen with.
        after: Its own on the same images.
        sensitivities: Per block, most sensitive first.
        metric: Which accuracy was held against the limit.
    """

    model: onnx.ModelProto
    float_blocks: tuple[int, ...]
    before: ClassScores
    after: ClassScores
    sensitivities: tuple[BlockSensitivity, ...]
    metric: Metric = "top1"

    @property
    def loss(self) -> float:
        """What was lost of the accuracy that counts, a fraction; negative where it rose."""
        return self.before.accuracy(self.metric) - self.after.accuracy(self.metric)


def quantise_mixed(
    quantiser: Int8Quantiser,
    exported: onnx.ModelProto,
    images: Images,
    labels: npt.NDArray[np.int64],
    *,
    max_loss: float,
    runtime: Runtime,
    metric: Metric = "top1",
) -> MixedModel | None:
    """Quantise as many blocks as accuracy allows.

    Blocks go back to FP32 in order of their sensitivity, 1, 2, 4, … of them, which needs few trials
    and leaves at most twice as many in FP32 as necessary.

    Args:
        quantiser: Of ``exported``.
        exported: FP32 graph.
        images: Network input (N, in_chans, H, W) of the search split, other than for INT8 calibration.
        labels: (N,) right outputs.
        max_loss: Largest loss allowed of the accuracy that counts, a fraction.
        runtime: What runs the graphs.
        metric: Which accuracy counts.

    Returns:
        None where no block can be quantised within ``max_loss``.

    Raises:
        NuwaError: If ``max_loss`` is negative.
    """
    if not max_loss >= 0:
        raise NuwaError(f"the largest loss of accuracy must be 0 or more, found {max_loss}")
    reference = _logits(exported, images, runtime)
    before = _scores(reference, labels)
    some = slice(SENSITIVITY_IMAGES)
    ranked = block_sensitivities(quantiser, images[some], reference=reference[some], runtime=runtime)
    num_float = 0
    while num_float < len(ranked):
        left = tuple(sorted(s.block for s in ranked[:num_float]))
        mixed = quantiser.quantise(blocks=[b for b in quantiser.blocks if b not in left])
        found = MixedModel(mixed, left, before, _scores(_logits(mixed, images, runtime), labels), ranked, metric)
        if found.loss <= max_loss:
            return found
        num_float = max(1, 2 * num_float)
    return None


def _logits(model: onnx.ModelProto, images: Images, runtime: Runtime) -> FloatArray:
    return run_batches(runtime.load(model.SerializeToString()), images)


def _scores(logits: FloatArray, labels: npt.NDArray[np.int64]) -> ClassScores:
    return class_scores(torch.from_numpy(logits), torch.from_numpy(labels))
