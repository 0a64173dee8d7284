"""Train sub-models and fusion together, with the full base as teacher and boards missing at random."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nuwa_search.core.accelerator import pick_device
from nuwa_search.core.logits import images_at_once, normalise
from nuwa_search.core.tasks.label_maps import pixel_rows
from nuwa_search.core.tensors import TaskTensors, size_of_images
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.augment import render
from nuwa_search.deploy.train.batches import plan_batches
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.engine import TrainSetup, run_job
from nuwa_search.deploy.train.hardware import pick_precision
from nuwa_search.deploy.train.processes import Processes
from nuwa_search.deploy.train.score import SplitScore, score_known
from nuwa_search.deploy.train.targets import targets_of
from nuwa_search.deploy.train.teacher import Teacher, TeacherOutputs, view_key
from nuwa_search.deploy.train.views import View, draw_view, view_of_epoch
from nuwa_search.search.collaborate.ensemble import Ensemble, draw_mask
from nuwa_search.search.collaborate.subtask import SubtaskRun

FEATURE_WEIGHT = 1.0
"""Of the relative squared error to the teacher's features; DeViT (arXiv 2309.05015) adds it to the others as it is."""
OWN_WEIGHT = 0.3
"""Of what the sub-models answer alone, together: where images are routed they do, and else they serve the fusion."""
EVAL_IMAGES = 250


@dataclass(frozen=True)
class _Lesson:
    number: int
    view: View
    said: TeacherOutputs


class EnsembleJob:
    """One run of the training loop over an ensemble.

    Args:
        ensemble: Trained in place; on the accelerator.
        teacher: The base with the head of the whole task.
        data: Of the whole task, on the accelerator.
        config: Settings of the run.
        setup: Of the run.
    """

    def __init__(
        self, ensemble: Ensemble, teacher: Teacher, data: TaskTensors, config: FinetuneConfig, setup: TrainSetup
    ) -> None:
        self.ensemble = ensemble
        self.model: nn.Module = ensemble
        self.module: nn.Module = ensemble
        self.teacher, self.data, self.config, self.setup = teacher, data, config, setup
        self.num_members = len(ensemble.members)
        self.chance_loss = math.log(ensemble.fuse_out.out_features)
        told = f"{hash_tensors(ensemble.state_dict())}:{data.train.content_hash}:{data.search.content_hash}"
        self.identity = hashlib.sha256(f"{told}:{teacher.teacher_id}".encode()).hexdigest()[:16]
        self.targets = targets_of(data.train, config, num_classes=ensemble.fuse_out.out_features, metric=data.metric)
        self._lesson: _Lesson | None = None

    def batch_loss(self, net: nn.Module, *, step: int, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the weighted parts of the loss of the images at ``indices``.

        Args:
            net: Module that answers (B, 3, H, W) images and a (B, N) mask of boards: the ensemble, wrapped or not.
            step: Number of the training step; with the seed it decides which boards are missing.
            indices: (B,) int64 places of the batch in the training split.
            epoch: Number of the epoch; it decides how images are augmented and mixed.
        """
        lesson, config = self._lesson_of(epoch), self.config
        inputs = render(self.data.train.images, lesson.view, indices, self.data.preprocess)
        mask = draw_mask(len(indices), self.num_members, seed=config.seed, stream="boards", place=step)
        found = net(inputs, mask.to(inputs.device))
        said, fused = lesson.said.logits[indices], found.fused.float()
        parts = {
            "cross_entropy": (1 - config.alpha) * self.targets.hard(fused, lesson.view, indices),
            "distil": config.alpha * self._soft(fused, said, lesson.view, indices),
            "feature": FEATURE_WEIGHT * self._feature_error(found.features.float(), lesson.said, indices),
        }
        own = [self._soft(one.float(), said, lesson.view, indices) for one in found.own]
        parts["own"] = OWN_WEIGHT * torch.stack(own).mean()
        return parts

    @torch.inference_mode()
    def score(self, model: nn.Module) -> SplitScore:
        """Score the fusion of all boards on the search split."""
        was_training, search = model.training, self.data.search
        model.eval()
        batches = torch.split(search.images, min(EVAL_IMAGES, images_at_once(self.ensemble.vits[0])))
        logits = torch.cat([model(normalise(part, self.data.preprocess)).fused.float() for part in batches])
        model.train(was_training)
        return score_known(logits, search, metric=self.data.metric)

    def _soft(self, logits: Tensor, said: Tensor, view: View, indices: Tensor) -> Tensor:
        return self.targets.soft(logits, said, view, indices, temperature=self.config.temperature)

    def _feature_error(self, features: Tensor, said: TeacherOutputs, indices: Tensor) -> Tensor:
        error = (features - self._wanted(said, indices)).square().sum(dim=1).mean()
        return error / self._feature_size

    def _wanted(self, said: TeacherOutputs, indices: Tensor | None = None) -> Tensor:
        """What the fusion is to take for the teacher's features (B, W): of patches the teacher's scores (B · P, C)."""
        found = said.logits if self.ensemble.is_dense else said.features
        return pixel_rows(found if indices is None else found[indices])

    @cached_property
    def _feature_size(self) -> Tensor:
        """Mean squared length of the teacher's features about their mean: an error of 1 is no better than the mean."""
        features = self._wanted(self._lesson_of(0).said)
        return (features - features.mean(dim=0)).square().sum(dim=1).mean().clamp_min(1e-12)

    def _lesson_of(self, epoch: int) -> _Lesson:
        number = view_of_epoch(self.config, epoch)
        if self._lesson is None or self._lesson.number != number:
            train, preprocess, device = self.data.train, self.data.preprocess, self.setup.device
            size = size_of_images(train.images)
            view = draw_view(self.config, number, num_images=len(train), img_size=size).to(device)
            said = self.teacher.outputs(
                train,
                view,
                key=view_key(train.content_hash, self.config, number, preprocess),
                preprocess=preprocess,
                device=device,
                precision=self.setup.precision,
                known=self.data.known,
            )
            self._lesson = _Lesson(number, view, said)
        return self._lesson


def train_ensemble(ensemble: Ensemble, data: TaskTensors, *, teacher: Teacher, run: SubtaskRun) -> SplitScore:
    """Train sub-models and fusion together; the ensemble then has its best weights by the search split.

    The weights it came with are a candidate, so it is never worse than they on the search split.

    Args:
        ensemble: Sub-models and fusion, changed in place; on the CPU afterwards.
        data: Train and search splits of the whole task.
        teacher: The base with the head of the whole task.
        run: Training settings, folder of checkpoints, and progress callback.

    Returns:
        Score of the best weights on the search split.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    config = run.config
    device = pick_device(config.accelerator, local_rank=0)
    setup = TrainSetup(
        plan=plan_batches(config, num_images=len(data.train), processes=1),
        device=device,
        precision=pick_precision(config.precision, device),
        processes=Processes(),
        checkpoint_dir=run.checkpoint_dir,
        resume=run.checkpoint_dir is not None,
        progress=run.progress,
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        job = EnsembleJob(ensemble.to(device), teacher, data.to(device), config, setup)
        outcome = run_job(job, config, setup)
    ensemble.cpu().load_state_dict(outcome.tensors)
    ensemble.eval()
    return outcome.best.score
