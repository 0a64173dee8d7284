"""The job of fine-tuning a subnet: cross-entropy, the teacher's logits, relations and features."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import classes_in_turn
from nuwa_search.core.heads import features_of
from nuwa_search.core.img_size import size_words
from nuwa_search.core.tensors import SplitTensors, TaskTensors, size_of_images
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.augment import render
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.engine import TrainSetup
from nuwa_search.deploy.train.losses import FeatureMap, fit_feature_map, relation_loss
from nuwa_search.deploy.train.score import SplitScore, score_known, score_split
from nuwa_search.deploy.train.targets import targets_of
from nuwa_search.deploy.train.teacher import Teacher, TeacherOutputs, hash_split, view_key
from nuwa_search.deploy.train.traced import Traced, middle_block, of_images, qkv_at
from nuwa_search.deploy.train.views import View, draw_view, view_of_epoch

FEATURE_FIT_IMAGES = 1024
"""Images the feature map is fitted on; several times the width of the nets served here."""


@dataclass(frozen=True)
class _Lesson:
    number: int
    view: View
    said: TeacherOutputs | None


class DistilJob:
    """Fine-tune a student, with or without a teacher.

    Args:
        student: Trained in place; on the accelerator.
        teacher: None for plain cross-entropy.
        data: On the accelerator.
        config: Of the run.
        setup: Of the run.

    Raises:
        NuwaError: If teacher and student do not fit together.
    """

    def __init__(
        self, student: PlainViT, teacher: Teacher | None, data: TaskTensors, config: FinetuneConfig, setup: TrainSetup
    ) -> None:
        self.model: nn.Module = student
        self.config, self.data, self.setup, self.teacher = config, data, setup, teacher
        self.chance_loss = math.log(student.arch.num_classes)
        self.split_hash = hash_split(data.train)
        told = teacher.teacher_id if teacher else "none"
        text = f"{hash_tensors(student.state_dict())}:{self.split_hash}:{hash_split(data.search)}:{told}"
        if data.metric != "top1":
            text = f"{text}:{data.metric}"
        self.identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.targets = targets_of(data.train, config, num_classes=student.arch.num_classes, metric=data.metric)
        self.teacher_tap: int | None = None
        tap: int | None = None
        if teacher is not None:
            _require_fit(student, teacher, data.train)
            if config.relation_scale > 0:
                tap, self.teacher_tap = middle_block(student), middle_block(teacher.model)
                _require_relations(student, teacher.model)
        self.traced = Traced(student, tap=tap)
        self.module: nn.Module = self.traced
        self._lesson: _Lesson | None = None
        self._feature_map: FeatureMap | None = None

    def prepare(self) -> None:
        """Fit what depends on the un-tuned student: the feature map."""
        if self.teacher is None or self.config.feature_weight == 0 or not isinstance(self.model, PlainViT):
            return
        images = classes_in_turn(self.data.train, FEATURE_FIT_IMAGES).images
        shown = classes_in_turn(self._shown(), FEATURE_FIT_IMAGES).images
        self.teacher.model.to(self.setup.device)
        mine = of_images(features_of(self.model, images, self.data.preprocess))
        theirs = of_images(features_of(self.teacher.model, shown, self.data.preprocess))
        self._feature_map = fit_feature_map(mine, theirs)

    def batch_loss(self, net: nn.Module, *, step: int, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the weighted parts of the loss of the images at ``indices``.

        Args:
            net: What a step calls: the model that is trained, compiled or wrapped in DDP where the run is.
            step: Number of the step, from 0; not used.
            indices: (B,) int64 places of the images in the training split, on its device.
            epoch: Number of the pass over the data, from 0, which chooses the augmentation.

        Returns:
            Each weighted part by name; their sum is what is minimised.
        """
        del step  # views and batches are chosen by epoch and indices
        lesson, config = self._lesson_of(epoch), self.config
        inputs = render(self.data.train.images, lesson.view, indices, self.data.preprocess)
        logits, features, tapped = net(inputs)
        hard = self.targets.hard(logits.float(), lesson.view, indices)
        if lesson.said is None or self.teacher is None:
            return {"cross_entropy": hard}
        parts = {"cross_entropy": (1 - config.alpha) * hard}
        said = lesson.said.logits[indices]
        soft = self.targets.soft(logits.float(), said, lesson.view, indices, temperature=config.temperature)
        parts["distil"] = config.alpha * soft
        if tapped is not None and self.teacher_tap is not None:
            seen = qkv_at(self.teacher.model, inputs, self.teacher_tap)
            matched = relation_loss(self.traced.qkv_of(tapped), seen, config.relation_weights)
            parts["relation"] = config.relation_scale * matched
        if self._feature_map is not None:
            error = self._feature_map.loss(of_images(features), lesson.said.features[indices])
            parts["feature"] = config.feature_weight * error
        return parts

    def _shown(self) -> SplitTensors:
        """Return the training images as the teacher sees them."""
        theirs = None if self.teacher is None else self.teacher.train
        return self.data.train if theirs is None else theirs.to(self.setup.device)

    def score(self, model: nn.Module) -> SplitScore:
        """Score weights on the search split."""
        data, crew = self.data, self.setup.processes
        if crew.count == 1 and isinstance(model, PlainViT):
            return score_known(data.search_logits(model), data.search, metric=data.metric)
        return score_split(model, data.search, data.preprocess, processes=crew, metric=data.metric)

    def _lesson_of(self, epoch: int) -> _Lesson:
        number = view_of_epoch(self.config, epoch)
        if self._lesson is None or self._lesson.number != number:
            train, preprocess, device = self.data.train, self.data.preprocess, self.setup.device
            shown = self._shown()
            size = size_of_images(shown.images)
            view = draw_view(self.config, number, num_images=len(train), img_size=size).to(device)
            said = None
            if self.teacher is not None:
                seen = preprocess if shown is train else dataclasses.replace(preprocess, img_size=size)
                split_hash = self.split_hash if shown is train else hash_split(shown)
                key = view_key(split_hash, self.config, number, seen)
                said = self.teacher.outputs(
                    shown,
                    view,
                    key=key,
                    preprocess=seen,
                    device=device,
                    precision=self.setup.precision,
                    known=self.data.known,
                )
                if self.teacher_tap is not None:
                    self.teacher.model.to(device).eval()
            self._lesson = _Lesson(number, view.at_size(size_of_images(train.images), old=size), said)
        return self._lesson


def _require_fit(student: PlainViT, teacher: Teacher, train: SplitTensors) -> None:
    mine, theirs = student.arch, teacher.model.arch
    if mine.num_classes != theirs.num_classes:
        raise NuwaError(
            f"the student has {mine.num_classes} classes and its teacher {theirs.num_classes}",
            hint="restrict the head of the base to the task's classes before it teaches",
        )
    if teacher.train is None and mine.img_size != theirs.img_size:
        raise NuwaError(
            f"the student takes {size_words(mine.img_size)} px images and its teacher {size_words(theirs.img_size)} px",
            hint="give the teacher the training images at its own size",
        )
    if teacher.train is not None and not torch.equal(teacher.train.labels.cpu(), train.labels.cpu()):
        raise NuwaError("the teacher's training images are not the student's, in their order")


def _require_relations(student: PlainViT, teacher: PlainViT) -> None:
    if middle_block(student) is None or middle_block(teacher) is None:
        raise NuwaError("relation matching needs attention in student and teacher", hint="set relation_scale to 0")
    if student.arch.num_tokens != teacher.arch.num_tokens:
        raise NuwaError(
            f"relation matching needs equal tokens, found {student.arch.num_tokens} and {teacher.arch.num_tokens}",
            hint="set relation_scale to 0",
        )


def detached_copy(model: PlainViT, device: torch.device) -> PlainViT:
    """Copy a ViT to ``device`` so that training leaves the given one alone."""
    copy = PlainViT(model.arch)
    copy.load_state_dict(model.state_dict())
    return copy.to(device)
