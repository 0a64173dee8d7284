"""How one net alone answers a split: the base, or the subnet that the boards are held against."""

import numpy as np

from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.score import tally_pixels
from nuwa_search.search.collaborate.seen import ImagesRight, PixelsRight, Rightness


def score_net(model: PlainViT, split: SplitTensors, preprocess: Preprocess) -> Rightness:
    """Run a net over a split, and count what it answers right."""
    if split.masks is not None:
        return PixelsRight(tally_pixels(model, split, preprocess)[0].scores())
    answers = logits_of(model, split.images, preprocess).argmax(dim=1)
    return ImagesRight((answers == split.labels).numpy().astype(np.float32))
