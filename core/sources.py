"""Open the base and the images that a command names."""

import dataclasses
from dataclasses import dataclass

from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.dataset import Dataset, load_dataset
from nuwa_search.core.divide import Division
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import OnImages, choose_head, fit_head, no_one, restrict_head
from nuwa_search.core.kept_heads import kept_head
from nuwa_search.core.metric import Metric
from nuwa_search.core.pipeline import FIRST_SPLIT_RULE, SPLIT_RULE
from nuwa_search.core.pooling import HeadPool
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE, SAMPLE_NAME
from nuwa_search.core.task import Task, make_task
from nuwa_search.core.tasks.head_kinds import head_kind
from nuwa_search.core.tasks.kind import TaskChoice, metric_for
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT


@dataclass(frozen=True)
class TaskBase:
    """The base with a head for the task: teacher, and what subnets are cut from.

    Args:
        model: In FP32 and evaluation mode, one output per class of the task.
        has_fitted_head: Whether the head was fitted because the base does not know the classes.
    """

    model: PlainViT
    has_fitted_head: bool


def open_splits(
    data: str | None, *, label_column: str | None, base: str, kind: TaskChoice = "auto"
) -> tuple[str, Dataset]:
    """Read the named data; with the default and the packaged base the simulated textiles where none is named.

    Args:
        data: Path or name of the data; None for the simulated textiles, with a base that they go with.
        label_column: Column of the labels in Parquet; None for the usual names.
        base: Name of the base.
        kind: Kind of the task; ``auto`` goes by the layout.

    Raises:
        NuwaError: If the base is the user's own and no data is named, or the data shipped in an earlier version.
    """
    if data is None and base in (DEMO_BASE, PACKAGED_BASE):
        data = DEMO_DATA
    if data is None:
        raise NuwaError(f"base {base!r} needs images: --data is missing", hint="name them with --data PATH")
    if data == SAMPLE_NAME:
        raise NuwaError(
            f"the images {SAMPLE_NAME!r} shipped with earlier versions and no longer do",
            hint="name CIFAR-100, as a Parquet folder with the column fine_label, or images of your own: --data PATH",
        )
    return data, load_dataset(data, label_column=label_column, task=kind)


def open_task(
    base: Base,
    *,
    data: str | None,
    label_column: str | None,
    classes: tuple[str, ...] | None,
    seed: int,
    split_rule: int = SPLIT_RULE,
    metric: Metric = "top1",
    kind: TaskChoice = "auto",
) -> Task:
    """Read the data and split it; of images with masks mIoU is the metric.

    Args:
        base: Whose classes are asked for where it has names.
        data: Path or name of the data; None as in ``open_splits``.
        label_column: Column of the labels in Parquet; None for the usual names.
        classes: By name or index; None for all.
        seed: Of the split that is cut off for the search.
        split_rule: Version of the rule that cuts it off.
        metric: By which candidates are chosen.
        kind: Kind of the task; ``auto`` goes by the layout.
    """
    if metric == "miou":
        kind = "segmentation"
    name, found = open_splits(data, label_column=label_column, base=base.name, kind=kind)
    task = make_task(
        found.splits,
        data=name,
        base_labels=base.label_names,
        classes=classes,
        held_out=base.search_hashes,
        division=Division(split_rule, seed),
        pipeline=base.preprocess.pipeline,
        notes=found.notes,
    )
    return dataclasses.replace(task, metric=metric_for(task.kind, metric))


def open_task_again(
    base: Base,
    *,
    task_id: str | None,
    data: str | None,
    label_column: str | None,
    classes: tuple[str, ...] | None,
    seed: int,
    metric: Metric = "top1",
) -> Task:
    """Open a task that is known by its id, whichever rule divided its images.

    Args:
        base: With images made as they were for that task.
        task_id: None where it is not known.
        data: The images.
        label_column: Of Parquet files.
        classes: In the order of the outputs.
        seed: Of the splits.
        metric: Which accuracy counted.

    Returns:
        The task of that id, or, where the images do not make it by any rule, what today's rule makes of them.
    """

    def divided(rule: int) -> Task:
        return open_task(
            base,
            data=data,
            label_column=label_column,
            classes=classes,
            seed=seed,
            split_rule=rule,
            metric=metric,
        )

    newest = divided(SPLIT_RULE)
    if task_id in (None, newest.task_id):
        return newest
    older = (divided(rule) for rule in range(SPLIT_RULE - 1, FIRST_SPLIT_RULE - 1, -1))
    return next((task for task in older if task.task_id == task_id), newest)


def random_note(base: Base) -> tuple[str, ...]:
    """Say that a base was never trained, where it was not."""
    if not base.is_random:
        return ()
    said = f"RANDOM WEIGHTS: {base.name} was never trained. Latencies are those of its shape; accuracies mean nothing"
    return (said,)


def task_base(
    base: Base,
    task: Task,
    tensors: TaskTensors,
    *,
    pool: HeadPool = "auto",
    on_images: OnImages = no_one,
    cache: Cache | None = None,
) -> TaskBase:
    """Give the base a head for the task: its own rows, or one fitted on the training images.

    Args:
        base: With or without a head.
        task: Its classes.
        tensors: Its images as network input.
        pool: What a fitted head reads where the base came without one.
        on_images: Told how many images were run.
        cache: Keeps fitted heads; None keeps none.
    """
    if task.base_classes is not None:
        return TaskBase(restrict_head(base.model, task.base_classes), has_fitted_head=False)
    model = kept_head(
        base,
        tensors,
        num_classes=task.num_classes,
        pool=pool,
        cache=cache,
        fit=lambda: fitted_base(base, tensors, num_classes=task.num_classes, pool=pool, on_images=on_images),
    )
    return TaskBase(model, has_fitted_head=True)


def fitted_base(
    base: Base, tensors: TaskTensors, *, num_classes: int, pool: HeadPool = "auto", on_images: OnImages = no_one
) -> PlainViT:
    """Give the base a head that is fitted to the training images, on the pooling it came with if it had a head.

    Args:
        base: With or without a head.
        tensors: The task's images as network input.
        num_classes: Outputs of the head.
        pool: What the head reads where the base came without one.
        on_images: Told how many images were run.
    """
    if tensors.train.masks is not None:
        return head_kind()(base.model, tensors, num_classes=num_classes, on_images=on_images)
    if not base.has_head:
        return choose_head(base.model, tensors, num_classes=num_classes, pool=pool, on_images=on_images)
    return fit_head(
        base.model,
        tensors.train,
        tensors.preprocess,
        num_classes=num_classes,
        metric=tensors.metric,
        on_images=on_images,
        known=tensors.known,
    )
