"""Distil one sub-model for its group of classes, with images of all other classes as one class more.

DeViT (arXiv 2309.05015) trains a sub-model on its own classes alone, its teacher too, and lets it see
other images only when all are joined. Here the base itself teaches every group: what it says of the other classes is
merged into one output, exactly, so that a sub-model learns from the start when an image is none of its own.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import fit_head
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.deploy.train.traced import middle_block

RELATION_SCALE = 1.0
"""Of relation matching beside the teacher's outputs: DeViT adds it with its weights of query, key and value."""
WATCH_IMAGES = 1000
"""Search images that choose among the weights of a sub-model: all of them would cost more than its steps."""


class MergedTeacher(PlainViT):
    """The base as the teacher of one group: its outputs for the group, and one for all other classes together.

    The last output is the logarithm of the sum of the others' exponentials, so that its probability is theirs together.

    Args:
        base: With the head of the whole task.
        group: Its outputs that keep their own; at least one is left out.
    """

    group: Tensor
    rest: Tensor

    def __init__(self, base: PlainViT, group: Sequence[int]) -> None:
        super().__init__(base.arch)
        self.load_state_dict(base.state_dict())
        others = sorted(set(range(base.arch.num_classes)) - set(group))
        self.register_buffer("group", torch.tensor(list(group)))  # in the state: two groups are two teachers
        self.register_buffer("rest", torch.tensor(others))
        self.arch = dataclasses.replace(self.arch, num_classes=len(group) + 1)
        self.eval()

    def answer(self, features: Tensor) -> Tensor:
        """Map pooled features to logits (B, G + 1)."""
        logits = super().answer(features)
        others = logits[:, self.rest].logsumexp(dim=1, keepdim=True)
        return torch.cat([logits[:, self.group], others], dim=1)


def merged_split(split: SplitTensors, group: Sequence[int], *, num_images: int, seed: int) -> SplitTensors:
    """Take images of a group and as many others, relabelled: place in the group, or ``len(group)``.

    Args:
        split: Of the whole task.
        group: Classes that keep their own label.
        num_images: At most so many, half of them of the group where there are enough.
        seed: Seed of the choice among the others.
    """
    labels = torch.full((int(split.labels.max()) + 1,), len(group))
    known = [c for c in group if c < len(labels)]
    labels[known] = torch.tensor([list(group).index(c) for c in known])
    merged = labels[split.labels]
    own, other = (torch.nonzero(found)[:, 0] for found in (merged < len(group), merged == len(group)))
    own_split = spread_evenly(split.take(own), max(1, num_images // 2))
    generator = torch.Generator().manual_seed(seed)
    few = other[torch.randperm(len(other), generator=generator)][: len(own_split)]
    images = torch.cat([own_split.images, split.images[few]])
    return SplitTensors(images, torch.cat([labels[own_split.labels], merged[few]]))


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


def distil_subtask(
    student: PlainViT, data: TaskTensors, *, base: PlainViT, group: Sequence[int], run: SubtaskRun
) -> PlainViT:
    """Distil a sub-model cut for ``group``; its head then has one output more, for images of no class of it.

    Args:
        student: As the search found it; its head is fitted anew.
        data: Train and search splits of the whole task.
        base: With the head of the whole task.
        group: Classes of the sub-model; all of them makes a plain distillation from the base.
        run: Training settings, folder of checkpoints, and progress callback.

    Raises:
        NuwaError: If student and base do not fit together.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    config, is_whole = run.config, len(group) == base.arch.num_classes
    num_images = config.steps * config.batch_size
    if is_whole:
        train, search = spread_evenly(data.train, num_images), spread_evenly(data.search, WATCH_IMAGES)
    else:
        train = merged_split(data.train, group, num_images=num_images, seed=config.seed)
        search = merged_split(data.search, group, num_images=WATCH_IMAGES, seed=config.seed)
    teacher = base if is_whole else MergedTeacher(base, group)
    few = TaskTensors(train, search, data.preprocess, data.metric)
    start = fit_head(student, train, data.preprocess, num_classes=teacher.arch.num_classes, metric=data.metric)
    if middle_block(student) is not None and middle_block(base) is not None:
        config = dataclasses.replace(config, relation_scale=RELATION_SCALE)
    tuned = finetune(
        start,
        few,
        teacher=Teacher(teacher),
        config=config,
        progress=run.progress,
        checkpoint_dir=run.checkpoint_dir,
        resume=run.checkpoint_dir is not None,
    )
    return tuned.student
