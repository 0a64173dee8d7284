"""How much each block suffers from INT8, one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.runtime import FloatArray, Images, Runtime
from nuwa_search.deploy.quantise.qdq import Int8Quantiser
from nuwa_search.deploy.runtimes.batches import run_batches


@dataclass(frozen=True)
class BlockSensitivity:
    """What happens to the logits when one block alone is quantised.

    Args:
        block: Its number in the graph.
        relative_error: Mean squared logit error over the variance of the FP32 logits.
        argmax_agreement: Share of images with the same prediction (fraction).
    """

    block: int
    relative_error: float
    argmax_agreement: float


def block_sensitivities(
    quantiser: Int8Quantiser, images: Images, *, reference: FloatArray, runtime: Runtime
) -> tuple[BlockSensitivity, ...]:
    """Quantise each block alone and compare logits; most sensitive first.

    Args:
        quantiser: Of the model.
        images: Network input (N, in_chans, H, W).
        reference: FP32 logits (N, num_classes) of the same images.
        runtime: What runs the graphs.
    """
    out = []
    variance = max(float(reference.var()), float(np.finfo(np.float32).tiny))
    for block in quantiser.blocks:
        session = runtime.load(quantiser.quantise(blocks=[block]).SerializeToString())
        logits = run_batches(session, images)
        error = float(np.square(logits - reference).mean()) / variance
        agreement = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
        out.append(BlockSensitivity(block, error, agreement))
    return _sorted(out)


def _sorted(found: Sequence[BlockSensitivity]) -> tuple[BlockSensitivity, ...]:
    return tuple(sorted(found, key=lambda s: (-s.relative_error, s.block)))
