"""Open again what a stored subnet was cut from: its base and its task, held against the hashes in its row."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from nuwa_search.core.base import Base, load_base
from nuwa_search.core.base_identity import said_difference
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric, metric_from_text
from nuwa_search.core.pipeline import FIRST_SPLIT_RULE, PIPELINE_VERSION
from nuwa_search.core.sources import open_task
from nuwa_search.core.task import Task
from nuwa_search.core.tasks.kind import kind_of
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.store.records import SubnetRecord, TaskRecord
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Moved:
    """Where base and images lie now; None for where they lay.

    Args:
        base: Folder or name of the base.
        data: The images.
        label_column: Label column of Parquet files.
    """

    base: str | None = None
    data: str | None = None
    label_column: str | None = None


@dataclass(frozen=True)
class Split:
    """How a data set was opened and divided.

    Args:
        label_column: Label column of Parquet files; None tries the usual ones.
        seed: Seed of the splits.
        rule: Version of the rule that divided them.
        metric: Which accuracy counts.
    """

    label_column: str | None
    seed: int
    rule: int
    metric: Metric = "top1"


@dataclass(frozen=True)
class Origin:
    """What a stored subnet was cut from, open.

    Args:
        record: The subnet.
        options: Options that it was cut with.
        base: With images made as they were for its scores.
        task: Its own, to the image.
        split: How the task was opened.
    """

    record: SubnetRecord
    options: DeriveOptions
    base: Base
    task: Task
    split: Split


def open_origin(identity: str, *, store: Store, moved: Moved) -> Origin:
    """Open base and task of a stored subnet, and make sure that they are those it was cut from.

    Args:
        identity: Its ``subnet_id``.
        store: The database.
        moved: Where they lie now.

    Raises:
        NuwaError: If it is not stored, was not cut, or base, images or program are others now; what is missing is
            named.
    """
    record = store.load_subnet(identity)
    task = store.load_task(record.task_id)
    options = options_of(record, task, store)
    base = _open_base(record, task, store=store, moved=moved)
    opened, split = _open_task(record, task, base, store=store, moved=moved)
    return Origin(record, options, base, opened, split)


def options_of(record: SubnetRecord, task: TaskRecord, store: Store) -> DeriveOptions:
    """Read how a stored subnet was cut.

    Raises:
        NuwaError: If it was not cut from its base, or by another version of the derivation.
    """
    stored = dict(record.derivation)
    origin = stored.pop("origin", None)
    if origin == "small-model":
        folder = store.bundle_dir_of(record.subnet_id)
        raise NuwaError(
            f"subnet {record.subnet_id} is a small ViT that a search trained: it was not cut, and cannot be cut again",
            hint="its weights are in its bundle" + (f" {folder}" if folder else ", which the search wrote"),
        )
    again = f"cut its arch anew: nuwa derive --arch {record.arch.arch_id}"
    unknown = sorted(stored.keys() - {field.name for field in fields(DeriveOptions)})
    if unknown:
        raise NuwaError(
            f"subnet {record.subnet_id} was cut with options that this version does not know: {', '.join(unknown)}",
            hint=again,
        )
    options = DeriveOptions(**stored)
    if subnet_id(record.arch, record.base_id, record.task_id, options) != record.subnet_id:
        raise NuwaError(
            f"subnet {record.subnet_id} was cut by another version of the derivation, which gave other weights",
            hint=again,
        )
    if task.pipeline > PIPELINE_VERSION:
        raise NuwaError(
            f"the scores of subnet {record.subnet_id} are of preprocessing {task.pipeline}, newer than this program's",
            hint="pip install --upgrade nuwa-search",
        )
    return options


def _open_base(record: SubnetRecord, task: TaskRecord, *, store: Store, moved: Moved) -> Base:
    kind = kind_of(metric_from_text(task.source.get("metric", "top1") if task.source else "top1"))
    names = store.names_of_base(record.base_id) if moved.base is None else (moved.base,)
    wanted = f"subnet {record.subnet_id} was cut from base {record.base_id}"
    hint = f"name what holds it: nuwa derive --subnet {record.subnet_id} --base FOLDER"
    img_size = store.load_base(record.base_id).arch.img_size
    problems: list[NuwaError] = []
    for name in names:  # it may have been called by several, and be left under one of them
        try:
            base = load_base(name, img_size=img_size).with_pipeline(task.pipeline).for_task(kind)
        except NuwaError as error:
            problems.append(type(error)(f"{wanted}, and {name!r} cannot be opened: {error.message}", hint=hint))
            continue
        if base.base_id == record.base_id:
            return base
        told = said_difference(record.base_id, base.base_id)
        problems.append(NuwaError(f"{wanted}, and {name!r} holds base {base.base_id} now: {told}", hint=hint))
    raise problems[0]


def _open_task(record: SubnetRecord, task: TaskRecord, base: Base, *, store: Store, moved: Moved) -> tuple[Task, Split]:
    data = moved.data or task.data
    hint = f"name where they are now: nuwa derive --subnet {record.subnet_id} --data PATH"
    found: Task | None = None
    for split in _ways_to_split(record, task, store, moved):
        try:
            found = open_task(
                base,
                data=data,
                label_column=split.label_column,
                classes=task.classes,
                seed=split.seed,
                split_rule=split.rule,
                metric=split.metric,
            )
        except NuwaError as error:
            raise type(error)(
                f"subnet {record.subnet_id} was scored on images of {task.data}, which cannot be opened: "
                f"{error.message}",
                hint=f"{hint}; {error.hint}" if error.hint else hint,
            ) from error
        if found.task_id == task.task_id:
            return found, split
    raise NuwaError(
        f"{data or task.data} holds other images than subnet {record.subnet_id} was scored on (task {task.task_id}): "
        f"{_differences(task, found)}",
        hint=hint,
    )


def _ways_to_split(record: SubnetRecord, task: TaskRecord, store: Store, moved: Moved) -> Iterator[Split]:
    """List how the task may have been opened, the likeliest first; its hash tells which it was."""
    known: list[dict[str, Any]] = [task.source] if task.source else []
    search = store.search(record.study) if record.study is not None and not known else None
    if search is not None:
        known.append({"label_column": search.settings.get("label_column"), "seed": search.seed})
    if not known:  # `nuwa derive` of versions that stored the seed with the scores only
        known = [{"seed": seed} for seed in dict.fromkeys([*(s.seed for s in store.scores(record.subnet_id)), 0])]
    for source in known:
        yield Split(
            label_column=moved.label_column or source.get("label_column"),
            seed=int(source.get("seed", 0)),
            rule=int(source.get("split_rule", FIRST_SPLIT_RULE)),
            metric=metric_from_text(source.get("metric", "top1")),
        )


def _differences(stored: TaskRecord, found: Task | None) -> str:
    if found is None:
        return "nothing says how they were split"
    now = {"train": found.train, "search": found.search, "test": found.test}
    parts = [
        f"{name} has {len(images)} images, and had {stored.splits[name]['num_images']}"
        if len(images) != stored.splits[name]["num_images"]
        else f"{name} holds others"
        for name, images in now.items()
        if name in stored.splits and images.content_hash != stored.splits[name]["hash"]
    ]
    return "; ".join(parts) or "its classes are others"
