"""The teacher of a distillation, and what it says about each view, computed once for all students."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from nuwa_search.core.counting import counted
from nuwa_search.core.images import Preprocess
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.logits import EVAL_BATCH
from nuwa_search.core.tensors import SplitTensors, features_key
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors, read_tensors
from nuwa_search.deploy.train.augment import render
from nuwa_search.deploy.train.hardware import autocast
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.traced import of_images
from nuwa_search.deploy.train.views import View


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher says about all images of one view: ``logits`` (N, C) or (N, C, h, w), ``features`` (N, D)."""

    logits: Tensor
    features: Tensor

    def to(self, device: torch.device) -> "TeacherOutputs":
        """Move both to ``device``."""
        return TeacherOutputs(self.logits.to(device), self.features.to(device))


@dataclass(frozen=True)
class Teacher:
    """A frozen ViT over the task's classes, with its stored outputs.

    Keep one ``Teacher`` for all students of a task: outputs are stored by images, augmentation, seed and
    view, in memory and, with ``cache_dir``, on disk. Storing logits once for many students follows
    TinyViT (arXiv 2207.10666); here whole views are stored, as the data sets of a task are small.

    Args:
        model: The base with its head restricted to the task, or a base fine-tuned on the task.
        cache_dir: Folder for stored outputs; None keeps them in memory only.
        train: The training images at the size that it takes, in the order of the students', where students take
            smaller ones; None where they share them.
    """

    model: PlainViT
    cache_dir: Path | None = None
    train: SplitTensors | None = field(default=None, compare=False, repr=False)
    _stored: dict[str, TeacherOutputs] = field(default_factory=dict, init=False, compare=False, repr=False)

    @cached_property
    def teacher_id(self) -> str:
        """Identify shape and weights."""
        return hash_tensors(self.model.state_dict()) + self.model.arch.arch_id[:4]

    def outputs(
        self,
        train: SplitTensors,
        view: View,
        *,
        key: str,
        preprocess: Preprocess,
        device: torch.device,
        precision: Literal["fp32", "bf16"],
        known: KnownOutputs | None = None,
    ) -> TeacherOutputs:
        """Return logits and features for every image of ``train`` under ``view``, on ``device``.

        Where the view leaves images as they are, features that the teacher's head was fitted to are its own.

        Args:
            train: N images on ``device``.
            view: Choices for them, on ``device``.
            key: ``view_key`` of images and view.
            preprocess: Of teacher and students alike.
            device: Where the teacher runs.
            precision: Of its forward pass.
            known: What nets gave on the task's images so far.
        """
        features = None if known is None or not view.is_plain else known.find(features_key(self.model, train))
        if features is not None:
            features = features.to(next(self.model.parameters()).device, copy=True)
            with torch.no_grad():
                logits = self.model.answer(features).float()
            return TeacherOutputs(logits, features).to(device)
        full_key = f"{self.teacher_id}-{key}-{precision}"
        stored = self._stored.get(full_key) or self._read(full_key)
        if stored is None:
            stored = self._compute(train, view, preprocess, device, precision)
            self._write(full_key, stored)
        self._stored[full_key] = stored
        return stored.to(device)

    @torch.no_grad()
    def _compute(
        self,
        train: SplitTensors,
        view: View,
        preprocess: Preprocess,
        device: torch.device,
        precision: Literal["fp32", "bf16"],
    ) -> TeacherOutputs:
        model, home = self.model, next(self.model.parameters()).device
        was_training = model.training
        model.to(device).eval()
        logits, features = [], []
        batches = torch.split(torch.arange(len(train), device=device), EVAL_BATCH)
        for indices in counted("images through the teacher", batches, sizes=len):
            with autocast(device, precision):
                pooled = model.pool(model.forward_trimmed(render(train.images, view, indices, preprocess)))
                logits.append(model.answer(pooled).float())
            features.append(of_images(pooled.float()))
        model.to(home).train(was_training)
        return TeacherOutputs(torch.cat(logits).cpu(), torch.cat(features).cpu())

    def _path(self, key: str) -> Path | None:
        return None if self.cache_dir is None else self.cache_dir / f"teacher-{key}.safetensors"

    def _read(self, key: str) -> TeacherOutputs | None:
        path = self._path(key)
        if path is None or not path.exists():
            return None
        tensors = read_tensors(path)
        return TeacherOutputs(tensors["logits"], tensors["features"])

    def _write(self, key: str, outputs: TeacherOutputs) -> None:
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        save_file({"logits": outputs.logits, "features": outputs.features}, temporary)
        temporary.replace(path)  # two processes that computed the same view write the same file


def hash_split(split: SplitTensors) -> str:
    """Identify the pixels and labels, or masks, of a split (16 hex digits)."""
    return split.content_hash


def view_key(split_hash: str, recipe: Recipe, view: int, preprocess: Preprocess) -> str:
    """Hash what the teacher sees in one view: the images and every choice that changes their pixels.

    Args:
        split_hash: ``hash_split`` of the training images.
        recipe: Seed, augmentation, mixup and cutmix are read.
        view: Number of the view, from 0.
        preprocess: How the images become the teacher's input.

    Returns:
        24 hex digits.
    """
    values = [split_hash, recipe.seed, view, recipe.mixup, recipe.cutmix]
    parts = [values, dataclasses.asdict(recipe.augment), dataclasses.asdict(preprocess)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
