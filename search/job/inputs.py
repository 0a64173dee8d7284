"""Everything a search starts from, opened and checked before anything is measured or trained."""

import copy
import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from nuwa_search.core.accelerator import CPU
from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.budget import require_statistic
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import OnImages, no_one, require_pools
from nuwa_search.core.pipeline import FIRST_SPLIT_RULE, SPLIT_RULE
from nuwa_search.core.pooling import POOL_NAMES, HeadPool
from nuwa_search.core.sized_tensors import SizedTensors
from nuwa_search.core.sources import TaskBase, open_task, random_note, task_base
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import TaskTensors, task_tensors
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.img_sizes import smaller_sizes
from nuwa_search.search.keep import kept_parts
from nuwa_search.search.request import SearchRequest
from nuwa_search.store.records import BaseRecord, TaskRecord
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Sources:
    """What a search starts from before any image is decoded.

    Args:
        base: As loaded, with its own head.
        task: Its three splits, still encoded.
        devices: What the budgets are about, in their order.
        pool: What a head is to read that is fitted to a base without one.
    """

    base: Base
    task: Task
    devices: tuple[DeviceSpec, ...]
    pool: HeadPool

    @property
    def device(self) -> DeviceSpec:
        """The first device: the one that a search of one budget is about."""
        return self.devices[0]

    @property
    def has_fitted_head(self) -> bool:
        """Whether a head will be fitted to the training images, because the base does not know the classes."""
        return self.task.base_classes is None

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the images is left out, and whether the base was never trained, in sentences."""
        return (*random_note(self.base), *self.task.notes)

    @property
    def profiled_arch(self) -> Arch:
        """Shape that latency predictors are fitted for: the base's own, and for pixels that with the task's head.

        Classes of images cost next to nothing, and one table serves all tasks; maps of pixels cost what they are large.
        """
        return self.teacher_archs[0] if self.task.kind == "segmentation" else self.base.arch

    @property
    def teacher_archs(self) -> tuple[Arch, ...]:
        """Shapes that the base may have with the task's head; a head where none was may read any kind of pooling."""
        arch = dataclasses.replace(self.base.model.arch, num_classes=self.task.num_classes)
        if self.task.kind == "segmentation":
            return (dataclasses.replace(arch, global_pool="patches"),)
        if self.base.has_head:
            return (arch,)
        return tuple(dataclasses.replace(arch, global_pool=pool) for pool in require_pools(arch, self.pool))


@dataclass(frozen=True)
class Inputs(Sources):
    """Everything a search starts from.

    Args:
        tensors: Train and search splits, decoded.
        teacher: The base with the task's head.
    """

    tensors: TaskTensors
    teacher: TaskBase

    @cached_property
    def sized(self) -> SizedTensors:
        """The same images at other sizes."""
        return SizedTensors(self.task, self.tensors)

    def tensors_for(self, arch: Arch) -> TaskTensors:
        """Return train and search splits at the size that ``arch`` takes, with its preprocessing."""
        return self.sized.at(arch.img_size)

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the images was left out or turned, and what the head reads, in sentences."""
        return (*random_note(self.base), *self.task.notes, *self.decoded_notes)

    @property
    def decoded_notes(self) -> tuple[str, ...]:
        """What only the decoded images told, in sentences."""
        return (*self.tensors.notes, *_head_note(self))


def _head_note(inputs: Inputs) -> tuple[str, ...]:
    """Return a note on what a fitted head reads, where the base came without one."""
    arch = inputs.teacher.model.arch
    if inputs.base.has_head and not arch.is_dense:
        return ()
    if arch.is_dense:
        return (
            f"the fitted head reads {POOL_NAMES[arch.global_pool]}: a linear answer per patch, scaled to the picture",
        )
    why = "as --pool says" if inputs.pool != "auto" else "the best on the search split of what it could"
    return (f"the fitted head reads {POOL_NAMES[arch.global_pool]}, {why}",)


def open_sources(
    request: SearchRequest, store: Store, *, begun: TaskRecord | None = None, cache_dir: Path | None = None
) -> Sources:
    """Open the base, the device and the images' index that a request names; no image is decoded.

    Args:
        request: What is asked for, with all options.
        store: The database.
        begun: Task that a study began with: images are divided and made as they were then, so that what it scored
            and what it will score can be compared. None divides and makes them as this version does.
        cache_dir: Where the default base is kept once it was read; None for the user's cache folder.

    Raises:
        NuwaError: If a name is unknown, a file is missing or corrupt, or a resumed study was begun on other images.
    """
    devices = find_devices(request, store)
    base = load_base(request.base, img_size=request.img_size, cache_dir=cache_dir)
    smaller_sizes(request.img_sizes or (), base.arch)
    kept_parts(base.arch, request.keep)  # a glob that names nothing is told before any image is looked at
    split_rule = SPLIT_RULE
    if begun is not None:
        base = base.with_pipeline(begun.pipeline)
        split_rule = int(begun.source.get("split_rule", FIRST_SPLIT_RULE))
    task = open_task(
        base,
        data=request.data,
        label_column=request.label_column,
        classes=request.classes,
        seed=request.seed,
        split_rule=split_rule,
        metric=request.metric,
        kind=request.task,
    )
    base = base.for_task(task.kind)
    _check_segmentation(request, task)
    if begun is not None and task.task_id != begun.task_id:
        raise NuwaError(
            f"the study was begun on other images than {task.data} holds (task {begun.task_id}, not {task.task_id})",
            hint="put the images back as they were, or start another study: leave --resume out and give a new --study",
        )
    sources = Sources(base, task, devices, request.pool)
    _check_pool(sources)
    return sources


def _check_segmentation(request: SearchRequest, task: Task) -> None:
    """Refuse, before anything is computed, options that say nothing of pixels.

    Raises:
        NuwaError: If one was given with images that have masks.
    """
    if task.kind == "classification":
        return
    given = {
        "--pool": request.pool != "auto",
        "--small-model": request.small_model_steps is not None,
    }
    for flag, is_given in given.items():
        if is_given:
            raise NuwaError(
                f"{flag} is for classes of whole images, and {task.data} has masks", hint=f"leave {flag} out"
            )


def _check_pool(sources: Sources) -> None:
    """Refuse a pooling that the base cannot have, before any image is looked at.

    Raises:
        NuwaError: If it has a head of its own, or no such tokens.
    """
    if sources.pool != "auto" and sources.base.has_head:
        raise NuwaError(
            f"--pool {sources.pool} is for bases without a classifier, and {sources.base.name!r} has one, which reads "
            f"{POOL_NAMES[sources.base.arch.global_pool]}",
            hint="leave --pool out",
        )
    if not sources.base.has_head and sources.task.kind == "classification":
        require_pools(sources.base.arch, sources.pool)


def find_devices(request: SearchRequest, store: Store) -> tuple[DeviceSpec, ...]:
    """Find the devices of a request's budgets.

    Raises:
        NuwaError: If a name is unknown, two names mean the same device, or one cannot have the budget's statistic.
    """
    found: dict[str, DeviceSpec] = {}
    for budget in request.device_budgets:
        spec = find_device(budget.device or request.device, store)
        require_statistic(request.budget_statistic, spec)
        if spec.device_id in found:
            raise NuwaError(
                f"{found[spec.device_id].name} and {spec.name} are the same device", hint="give it one budget"
            )
        found[spec.device_id] = spec
    return tuple(found.values())


def decode_inputs(
    sources: Sources, *, on_images: OnImages = no_one, cache: Cache | None = None, device: torch.device = CPU
) -> Inputs:
    """Decode the training and search images, and give the base its head for the task.

    Args:
        sources: Base, task and devices whose images are decoded.
        on_images: Callback of progress while a head is fitted.
        cache: Where fitted heads are kept; None fits anew.
        device: Where the base with its head lies: it passes on to everything that is made of it.

    Raises:
        NuwaError: If a file is not a readable image; it is named.
    """
    base, task = sources.base, sources.task
    tensors = task_tensors(task, base.preprocess)
    there = base if device == CPU else dataclasses.replace(base, model=copy.deepcopy(base.model).to(device))
    headed = task_base(there, task, tensors, pool=sources.pool, on_images=on_images, cache=cache)
    return Inputs(base, task, sources.devices, sources.pool, tensors, headed)


def task_begun_with(study: str, store: Store) -> TaskRecord | None:
    """Read the task that a study began with; None where there is no such study yet."""
    record = store.search(study)
    return store.load_task(record.task_id) if record is not None and record.task_id is not None else None


def record_inputs(inputs: Sources, store: Store, *, label_column: str | None, seed: int) -> None:
    """Put devices, base and task into the database.

    Args:
        inputs: Base, task and devices.
        store: The database.
        label_column: Label column of the data, as the user named it; None where it was not named.
        seed: Seed of the splits.
    """
    for device in inputs.devices:
        store.record_device(device)
    record_source(inputs.base, inputs.task, store, label_column=label_column, seed=seed)


def record_source(base: Base, task: Task, store: Store, *, label_column: str | None, seed: int) -> None:
    """Put base and task into the database, with the settings that are needed to open them again.

    Args:
        base: Base as loaded.
        task: Task as opened.
        store: The database.
        label_column: Label column of the data, as the user named it.
        seed: Seed of the splits.
    """
    store.record_base(BaseRecord(base.base_id, base.name, base.arch, {"num_labels": len(base.label_names)}))
    splits = {"train": task.train, "search": task.search, "test": task.test}
    source = {"label_column": label_column, "seed": seed, "split_rule": task.split_rule}  # as rows of before have it
    store.record_task(
        TaskRecord(
            task_id=task.task_id,
            data=task.data,
            data_hash=task.train.content_hash,
            classes=task.class_names,
            splits={name: {"hash": images.content_hash, "num_images": len(images)} for name, images in splits.items()},
            # the database has no "unknown" here: classes the base does not know count as seen, to be safe
            search_split_seen_by_base=task.search_split_seen_by_base is not False,
            pipeline=task.pipeline,
            source=source | ({} if task.metric == "top1" else {"metric": task.metric}),
        )
    )
