"""The job of training a base: soft cross-entropy under strong augmentation."""

import hashlib
import math

from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn

from nuwa_search.core.tensors import TaskTensors, size_of_images
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.augment import mix_targets, render
from nuwa_search.deploy.train.engine import TrainSetup
from nuwa_search.deploy.train.losses import smooth_targets
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.score import SplitScore, score_split
from nuwa_search.deploy.train.teacher import hash_split
from nuwa_search.deploy.train.views import View, draw_view, view_of_epoch


class BaseJob:
    """Train a whole model on labels.

    Args:
        model: Trained in place; on the accelerator.
        data: On the accelerator.
        num_classes: Outputs of the model.
        recipe: Of the run.
        setup: Of the run.
    """

    def __init__(
        self, model: nn.Module, data: TaskTensors, num_classes: int, recipe: Recipe, setup: TrainSetup
    ) -> None:
        self.model = self.module = model
        self.data, self.recipe, self.setup = data, recipe, setup
        self.chance_loss = math.log(num_classes)
        text = f"{hash_tensors(model.state_dict())}:{hash_split(data.train)}:{hash_split(data.search)}"
        self.identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.targets = smooth_targets(data.train.labels, num_classes, recipe.label_smoothing)
        self.soft_cross_entropy = SoftTargetCrossEntropy()
        self._view: tuple[int, View] | None = None

    def batch_loss(self, net: nn.Module, *, step: int, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the cross-entropy of the images at ``indices``.

        Args:
            net: What a step calls: the model that is trained, compiled or wrapped in DDP where the run is.
            step: Number of the step, from 0; not used.
            indices: (B,) int64 places of the images in the training split, on its device.
            epoch: Number of the pass over the data, from 0, which chooses the augmentation.
        """
        del step  # views and batches are chosen by epoch and indices
        view = self._view_of(epoch)
        logits = net(render(self.data.train.images, view, indices, self.data.preprocess))
        targets = mix_targets(self.targets, view, indices)
        return {"cross_entropy": self.soft_cross_entropy(logits.float(), targets)}

    def score(self, model: nn.Module) -> SplitScore:
        """Score weights on the held-out split."""
        return score_split(model, self.data.search, self.data.preprocess, processes=self.setup.processes)

    def _view_of(self, epoch: int) -> View:
        number = view_of_epoch(self.recipe, epoch)
        if self._view is None or self._view[0] != number:
            images = self.data.train.images
            view = draw_view(self.recipe, number, num_images=len(images), img_size=size_of_images(images))
            self._view = number, view.to(self.setup.device)
        return self._view[1]
