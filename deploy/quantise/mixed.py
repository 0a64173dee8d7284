"""Find the INT8 model that keeps the accuracy: all blocks, or all but those that suffer most."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric
from nuwa_search.core.runtime import FloatArray, Images, Runtime
from nuwa_search.core.tasks.masks import Masks
from nuwa_search.core.tasks.pixel_scores import PixelTally
from nuwa_search.core.tasks.scores import TaskScores
from nuwa_search.deploy.quantise.qdq import Int8Quantiser
from nuwa_search.deploy.quantise.sensitivity import BlockSensitivity, block_sensitivities
from nuwa_search.deploy.runtimes.batches import run_batches

SENSITIVITY_IMAGES = 128
"""Images that blocks are compared on, one session per block: a ranking needs fewer than an accuracy does."""
MAP_IMAGES = 16
"""The same where pixels have classes, and images that are held at once: a map of logits of 224 x 224 pixels and six
classes takes 1.2 MB, and says as much as many images."""


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
    before: TaskScores
    after: TaskScores
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
    truths: Masks | None = None,
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
        truths: Masks of the images, at their own size, where pixels have classes; ``labels`` then say nothing.

    Returns:
        None where no block can be quantised within ``max_loss``.

    Raises:
        NuwaError: If ``max_loss`` is negative.
    """
    if not max_loss >= 0:
        raise NuwaError(f"the largest loss of accuracy must be 0 or more, found {max_loss}")

    def score(model: onnx.ModelProto) -> TaskScores:
        if truths is not None:
            return _pixel_scores(model, images, truths, runtime)
        return class_scores(torch.from_numpy(_logits(model, images, runtime)), torch.from_numpy(labels))

    before = score(exported)
    some = images[: SENSITIVITY_IMAGES if truths is None else MAP_IMAGES]
    ranked = block_sensitivities(quantiser, some, reference=_logits(exported, some, runtime), runtime=runtime)
    num_float = 0
    while num_float < len(ranked):
        left = tuple(sorted(s.block for s in ranked[:num_float]))
        mixed = quantiser.quantise(blocks=[b for b in quantiser.blocks if b not in left])
        found = MixedModel(mixed, left, before, score(mixed), ranked, metric)
        if found.loss <= max_loss:
            return found
        num_float = max(1, 2 * num_float)
    return None


def _logits(model: onnx.ModelProto, images: Images, runtime: Runtime) -> FloatArray:
    return run_batches(runtime.load(model.SerializeToString()), images)


def _pixel_scores(model: onnx.ModelProto, images: Images, truths: Masks, runtime: Runtime) -> TaskScores:
    """Count pixels at each mask's own size, a few images at a time."""
    session, tally = runtime.load(model.SerializeToString()), PixelTally(0)
    for start in range(0, len(images), MAP_IMAGES):
        maps = torch.from_numpy(run_batches(session, images[start : start + MAP_IMAGES]))
        tally = tally if start else PixelTally(maps.shape[1])
        for place, logits in enumerate(maps):
            tally.add(logits, truths.label_map(start + place))
    return tally.scores()
