"""Distil one sub-model from all that the base says, on images of all classes.

DeViT (arXiv 2309.05015) trains a sub-model on its own classes alone, its teacher too, and lets it see other images
only when all are joined. Here a sub-model is cut for its group and then taught like any other net. On CIFAR-100 with
32 images of a class, 80 steps for its 25 classes and one output for all others took what three sub-models say of all
classes from 54-61 % of the search split to 51-58 %; 80 steps of all that the base says took one from 52.2 to 55.4 %
(of the test split from 49.6 to 53.0 %).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import fit_head
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.tasks.patch_head import dense_model
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.refit_head import with_refitted_head
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.deploy.train.traced import middle_block

RELATION_SCALE = 1.0
"""Of relation matching beside the teacher's outputs: DeViT adds it with its weights of query, key and value."""
WATCH_IMAGES = 1000
"""Search images that choose among the weights of a sub-model: all of them would cost more than its steps."""


@dataclass(frozen=True)
class SubtaskRun:
    """How a sub-model is distilled.

    Args:
        config: Settings of the training.
        checkpoint_dir: Folder of checkpoints, from which a run goes on after an interruption; None for none.
        progress: Callback of progress; None for none.
    """

    config: FinetuneConfig
    checkpoint_dir: Path | None = None
    progress: Callable[[Progress], None] | None = None


def distil_subtask(student: PlainViT, data: TaskTensors, *, base: PlainViT, run: SubtaskRun) -> PlainViT:
    """Distil a sub-model from the base; its head then answers all classes of the task.

    Args:
        student: As the search found it; its head is fitted anew.
        data: Train and search splits of the whole task.
        base: With the head of the whole task.
        run: Training settings, folder of checkpoints, and progress callback.

    Raises:
        NuwaError: If student and base do not fit together.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    config, num_classes = run.config, base.arch.num_classes
    few = few_images(data, config)
    if student.arch.is_dense:  # the training begins with fitting its head, which is remembered in ``few``
        start, config = dense_model(student, num_classes), dataclasses.replace(config, refit_head=True)
    else:
        start = with_task_head(student, few, num_classes=num_classes)
    if middle_block(student) is not None and middle_block(base) is not None:
        config = dataclasses.replace(config, relation_scale=RELATION_SCALE)
    tuned = finetune(
        start,
        few,
        teacher=Teacher(base),
        config=config,
        progress=run.progress,
        checkpoint_dir=run.checkpoint_dir,
        resume=run.checkpoint_dir is not None,
    )
    return tuned.student


def few_images(data: TaskTensors, config: FinetuneConfig) -> TaskTensors:
    """Take as many training images as one pass sees: the teacher then looks at no other.

    Heads that were fitted to patches are remembered for whoever fits them again.
    """
    return TaskTensors(
        spread_evenly(data.train, config.steps * config.batch_size),
        spread_evenly(data.search, WATCH_IMAGES),
        data.preprocess,
        data.metric,
        known=KnownOutputs() if data.train.masks is None else data.known,
    )


def with_task_head(
    student: PlainViT, data: TaskTensors, *, num_classes: int, known: KnownOutputs | None = None
) -> PlainViT:
    """Fit a sub-model's head anew, over all classes of the task.

    Args:
        student: With any head.
        data: It is fitted to the training images; where pixels have classes the search images choose, as of a search,
            and a head that was fitted to the same tokens before is taken again.
        num_classes: Outputs.
        known: Is given the features of images that have classes, for whoever asks for them later.
    """
    if student.arch.is_dense:
        return with_refitted_head(dense_model(student, num_classes), data)[0]
    return fit_head(student, data.train, data.preprocess, num_classes=num_classes, metric=data.metric, known=known)
