"""The images of a task at other sizes than the base's own, decoded when first asked for."""

import dataclasses

import torch

from nuwa_search.core.images import ImageSet, Preprocess
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors, TaskTensors, split_tensors


class SizedTensors:
    """Train and search images of a task at any size: the same ones, in the same order, made from their files.

    Args:
        task: With its images still encoded.
        tensors: Decoded at the base's own size; what was left out there is left out at every size.
    """

    def __init__(self, task: Task, tensors: TaskTensors) -> None:
        self._task = task
        self._own = tensors
        self._known: dict[tuple[str, ImgSize], SplitTensors] = {}

    def preprocess(self, img_size: ImgSize) -> Preprocess:
        """Return the base's preprocessing for images of ``img_size`` pixels."""
        return dataclasses.replace(self._own.preprocess, img_size=img_size)

    def train(self, img_size: ImgSize) -> SplitTensors:
        """Return the training images at a size.

        Raises:
            NuwaError: If a file is no readable image any more.
        """
        return self._at("train", self._task.train, self._own.train, img_size)

    def search(self, img_size: ImgSize) -> SplitTensors:
        """Return the search images at a size; raises as ``train``."""
        return self._at("search", self._task.search, self._own.search, img_size)

    def at(self, img_size: ImgSize) -> TaskTensors:
        """Return both splits at a size, with its preprocessing."""
        if img_size == self._own.preprocess.img_size:
            return self._own
        return dataclasses.replace(
            self._own,
            train=self.train(img_size),
            search=self.search(img_size),
            preprocess=self.preprocess(img_size),
        )

    def _at(self, name: str, images: ImageSet, own: SplitTensors, img_size: ImgSize) -> SplitTensors:
        if img_size == self._own.preprocess.img_size:
            return own
        key = (name, img_size)
        if key not in self._known:
            places = torch.arange(len(images)) if own.places is None else own.places
            self._known[key] = split_tensors(images.take(places.tolist()), self.preprocess(img_size))
        return self._known[key]
