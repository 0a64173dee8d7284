"""Train what the searches found: each sub-model for its group, then all of them with their fusion."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from nuwa_search.core.cache import content_key
from nuwa_search.core.images import Preprocess
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.tasks.kind import kind_of
from nuwa_search.core.tensors import TaskTensors, features_key
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.score import SplitScore, score_known
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.collaborate.ensemble import Ensemble, fit_fusion, fused_dim, vectors_of
from nuwa_search.search.collaborate.ensemble_job import train_ensemble
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.subtask import SubtaskRun, distil_subtask, few_images, with_task_head
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.tune import finetune_config


def train_config(run: DecomposeRun, inputs: Inputs) -> FinetuneConfig:
    """Choose the settings of a search's fine-tuning."""
    request = run.request
    config = finetune_config(
        steps=request.finetune_steps,
        epochs=None,
        num_train=len(inputs.tensors.train),
        seed=request.seed,
        has_fitted_head=inputs.teacher.has_fitted_head,
        is_large=not is_small(inputs.teacher.model.arch),
        kind=kind_of(inputs.tensors.metric),
    )
    return dataclasses.replace(config, accelerator=request.accelerator)


def distil_parts(
    run: DecomposeRun, inputs: Inputs, division: ClassDivision, students: Sequence[PlainViT]
) -> tuple[PlainViT, ...]:
    """Distil each sub-model from the base, on images of all classes.

    Args:
        run: The decomposition.
        inputs: Decoded images and the base with the task's head.
        division: Group of classes of each sub-model.
        students: Sub-models as the searches found them, in the order of the groups.
    """
    config, tuned = train_config(run, inputs), []
    for place, student in enumerate(students):
        name = division.name_of(place)
        run.hooks.step(f"{name}: {config.steps} steps with the base as teacher")
        tuned.append(
            distil_subtask(
                student,
                inputs.tensors,
                base=inputs.teacher.model,
                run=_run_of(run, config, run.work_dir / name, start=student),
            )
        )
    return tuple(tuned)


def begin_ensemble(
    run: DecomposeRun, inputs: Inputs, parts: Sequence[PlainViT], *, searched: Sequence[PlainViT] = ()
) -> Ensemble:
    """Fuse the sub-models in closed form, as distilled or as found: what is better on the search split.

    Sub-models that each win by a short distillation may fuse to less: they are held against it once more.

    Args:
        run: The decomposition.
        inputs: Decoded images and the base with the task's head.
        parts: As distilled.
        searched: The same as the searches found them; empty where they are not to be compared.
    """
    base, kinds = inputs.teacher.model, [parts, *([searched] if searched else [])]
    few = few_images(inputs.tensors, train_config(run, inputs))
    taught = vectors_of([base], few.train.images, few.preprocess)[0]
    found = [
        fused_in_closed_form(few, base, kind, said=taught, seed=run.request.seed, are_distilled=kind is parts)
        for kind in kinds
    ]
    scores = [fused_score(ensemble, few).accuracy for ensemble in found]
    for score, said in zip(scores, ("as distilled", "as found"), strict=False):
        run.hooks.step(f"fused in closed form: {100 * score:.1f} % of the search split {said}")
    return found[scores.index(max(scores))]


def fused_in_closed_form(
    few: TaskTensors,
    base: PlainViT,
    parts: Sequence[PlainViT],
    *,
    said: Tensor,
    seed: int,
    are_distilled: bool = False,
) -> Ensemble:
    """Fit the fusion to the teacher's features, and to each sub-model a head over all classes.

    Heads that were trained for pixels are better than fitted ones, and stay.

    Args:
        few: Images that it is fitted to.
        base: With the head of the whole task.
        parts: Sub-models, with any heads.
        said: (N, D) features of the base on the training images, or its scores of their patches (N · P, C).
        seed: Seed of the draw of missing boards.
        are_distilled: Whether the sub-models were trained with heads over all classes.
    """
    classes, known = base.arch.num_classes, KnownOutputs()
    keep = are_distilled and base.arch.is_dense
    members = [part if keep else with_task_head(part, few, num_classes=classes, known=known) for part in parts]
    vectors = [
        known.get(features_key(one, few.train), partial(_vectors, one, few.train.images, few.preprocess))
        for one in members
    ]
    weight, bias = fit_fusion(vectors, said, seed=seed)
    ensemble = Ensemble(members, width=fused_dim(base))
    ensemble.begin_as(weight, bias, head=base.head)
    return ensemble.eval()


def _vectors(member: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    return vectors_of([member], images, preprocess)[0]


@torch.inference_mode()
def fused_score(ensemble: Ensemble, few: TaskTensors) -> SplitScore:
    """Score all boards together on the search images."""
    logits, _ = ensemble.fuse(vectors_of(ensemble.vits, few.search.images, few.preprocess))
    return score_known(ensemble.maps(logits) if ensemble.is_dense else logits, few.search, metric=few.metric)


def train_together(run: DecomposeRun, inputs: Inputs, ensemble: Ensemble) -> None:
    """Train sub-models and fusion together, with the full base as teacher and boards missing at random."""
    config = train_config(run, inputs)
    run.hooks.step(f"fusion: {config.steps} steps of all sub-models together, boards missing at random")
    score = train_ensemble(
        ensemble,
        few_images(inputs.tensors, train_config(run, inputs)),
        teacher=Teacher(inputs.teacher.model),
        run=_run_of(run, config, run.work_dir / "together", start=ensemble),
    )
    run.hooks.step(f"fused: {score.said} on the search split")


def _run_of(run: DecomposeRun, config: FinetuneConfig, folder: Path, *, start: nn.Module) -> SubtaskRun:
    """Keep the checkpoint under what the run depends on: other weights or settings are another run."""
    key = content_key(hash_tensors(start.state_dict()), str(dataclasses.asdict(config)))
    return SubtaskRun(config, checkpoint_dir=folder / key, progress=run.hooks.finetune)
