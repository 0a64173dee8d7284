"""Nets of any image size on the search and test images of one task, held against the base at its own size."""

import functools
from typing import Any

import numpy as np
import torch

from benchmarks.img_sizes_table import SPLITS, PerImage
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.job.inputs import Inputs


class SizedJudge:
    """Runs nets in FP32 on all images of both splits, each decoded at the net's own size.

    Args:
        inputs: The task, and the base that teaches.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def told(self, model: PlainViT) -> dict[str, Any]:
        """Return the KL and whether it is right for each image of each split, as JSON."""
        return {split: self._per_image(model, split).to_json() for split in SPLITS}

    def _per_image(self, model: PlainViT, split: str) -> PerImage:
        labels = self._images(split, self.inputs.base.arch.img_size).labels
        logits = self._logits(model, split)
        wanted = self._base_logits(split).double().log_softmax(dim=1)
        kl = (wanted.exp() * (wanted - logits.double().log_softmax(dim=1))).sum(dim=1)
        return PerImage(kl.numpy(), np.asarray((logits.argmax(dim=1) == labels).numpy()))

    def _logits(self, model: PlainViT, split: str) -> torch.Tensor:
        images = self._images(split, model.arch.img_size).images
        return logits_of(model, images, self.inputs.sized.preprocess(model.arch.img_size))

    @functools.cache  # noqa: B019 - lives as long as the task's cells
    def _base_logits(self, split: str) -> torch.Tensor:
        return self._logits(self.inputs.teacher.model, split)

    @functools.cache  # noqa: B019
    def _images(self, split: str, img_size: ImgSize) -> SplitTensors:
        if split == "search":
            return self.inputs.sized.search(img_size)
        return split_tensors(self.inputs.task.test, self.inputs.sized.preprocess(img_size))
