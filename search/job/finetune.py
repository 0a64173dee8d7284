"""Fine-tune the model of a bundle."""

import dataclasses
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.cache import content_key
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.metric import Metric
from nuwa_search.core.pooling import pool_of
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.source_name import PACKAGED_BASE
from nuwa_search.core.sources import random_note, task_base
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import TaskTensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.bundle_facts import BundleFacts, FinetuneFacts
from nuwa_search.deploy.bundle_source import Source, open_bundle_task, source_of
from nuwa_search.deploy.device_bundles import further_bundles
from nuwa_search.deploy.export_bundle import certified_budget
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult, finetune
from nuwa_search.deploy.train.finetune_request import (
    FinetuneRequest,
    TeacherKind,
    resumed_request,
    save_request,
    with_absolute_paths,
)
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.recipe import NO_AUGMENT, of_length
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.deploy.train.tuned_teacher import tuned_teacher
from nuwa_search.deploy.write_bundle import BundleParts, parts_from_bundle, write_bundle
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.tune import finetune_config
from nuwa_search.search.recording.steps import record_retuned, said_not_raised
from nuwa_search.store.store import Store


@dataclass(frozen=True, kw_only=True)
class FinetuneAnswer(JsonFields):
    """What fine-tuning a bundle came to: the `nuwa.finetune/1` answer without its schema.

    Args:
        dir: The bundle.
        teacher: ``base`` or ``tuned``.
        steps: Training steps that were made.
        top1_search_before: Top1 on the search split before fine-tuning, a fraction; None where pixels have classes.
        top1_search: The same after fine-tuning.
        top1_search_before_interval: 95 %.
        top1_search_interval: 95 %.
        num_images: Images of the search split.
        metric: Accuracy that the weights were chosen by.
        accuracy_search_before: Accuracy by that metric on the search split before fine-tuning, a fraction.
        accuracy_search: The same after fine-tuning.
        resumed_from: Step of the checkpoint that was gone on from; None without one.
        seconds: Seconds of the run.
        weights: Hash of the new weights.
    """

    dir: Path
    teacher: TeacherKind
    steps: int
    top1_search_before: float | None
    top1_search: float | None
    top1_search_before_interval: list[float] | None
    top1_search_interval: list[float] | None
    num_images: int
    metric: Metric
    accuracy_search_before: float
    accuracy_search: float
    resumed_from: int | None
    seconds: float
    weights: str


@dataclass(frozen=True)
class _Run:
    """A fine-tuning as it is about to begin.

    Args:
        folder: The bundle's.
        bundle: As it is.
        parts: Of it, with the student.
        request: With base and images named.
        note: Where the request is kept for ``--resume``.
        task: Its images, still encoded.
        tensors: Decoded.
        config: Settings of the student's training.
        teacher: Teacher of the run.
        checkpoint_dir: Of this student, task and teacher.
    """

    folder: Path
    bundle: Bundle
    parts: BundleParts
    request: FinetuneRequest
    note: Path
    task: Task
    tensors: TaskTensors
    config: FinetuneConfig
    teacher: Teacher
    checkpoint_dir: Path


def finetune_bundle(
    folder: Path,
    request: FinetuneRequest,
    *,
    resume: bool,
    named: Collection[str] = (),
    store: Store,
    cache_dir: Path,
    hooks: Hooks,
) -> FinetuneAnswer:
    """Fine-tune a bundle with its base as teacher, write it back, and record it where its subnet is known.

    A run that was interrupted or killed is taken up with ``resume``, with the settings it was started with.
    Under torchrun every process calls this; the first one writes.

    Args:
        folder: The bundle.
        request: What is asked for, with all options.
        resume: Go on where the last run stopped.
        named: Fields of ``request`` that the user named; with ``resume`` they must be the run's own.
        store: The database.
        cache_dir: Where checkpoints and the teacher's outputs lie.
        hooks: Callbacks that are told of progress.

    Raises:
        NuwaError: If the data lacks classes of the bundle, the base was made for other images, or there is
            nothing to resume.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    run = _begin(folder, request, resume=resume, named=named, cache_dir=cache_dir, hooks=hooks)
    result = finetune(
        run.parts.model,
        run.tensors,
        teacher=run.teacher,
        config=run.config,
        progress=hooks.finetune,
        checkpoint_dir=run.checkpoint_dir,
        resume=resume,
    )
    if join_processes().is_first:
        _write(run, result)
        with said_not_raised(hooks.step):
            record_retuned(store, folder, run.task, run.config, result)
    num_images = len(run.task.search)
    return FinetuneAnswer(
        dir=folder,
        teacher=run.request.teacher,
        steps=result.outcome.steps,
        top1_search_before=result.before.top1,
        top1_search=result.after.top1,
        top1_search_before_interval=interval_of_share(result.before.top1, num_images),
        top1_search_interval=interval_of_share(result.after.top1, num_images),
        num_images=num_images,
        metric=run.task.metric,
        accuracy_search_before=result.before.accuracy,
        accuracy_search=result.after.accuracy,
        resumed_from=result.outcome.resumed_from,
        seconds=round(result.seconds, 1),
        weights=hash_tensors(result.student.state_dict()),
    )


def _begin(
    folder: Path, request: FinetuneRequest, *, resume: bool, named: Collection[str], cache_dir: Path, hooks: Hooks
) -> _Run:
    """Open the bundle, its images and its teacher; what was asked for is written down for ``--resume``."""
    bundle = read_bundle(folder)
    parts = parts_from_bundle(bundle)
    begun_from = hash_tensors(parts.model.state_dict())
    note = cache_dir / "finetune" / f"{begun_from}.json"
    if resume:
        chosen = resumed_request(note, with_absolute_paths(request), named=named, folder=folder)
    else:
        source = source_of(bundle, base=request.base, data=request.data, label_column=request.label_column)
        chosen = with_absolute_paths(dataclasses.replace(request, **vars(source)))
    if join_processes().is_first:
        save_request(note, chosen)
    source = Source(chosen.base or PACKAGED_BASE, chosen.data, chosen.label_column)
    loaded, task = open_bundle_task(bundle, source, seed=chosen.seed)
    tensors = task_tensors(task, loaded.preprocess)
    for said in (*random_note(loaded), *task.notes, *tensors.notes):
        hooks.step(said)
    headed = task_base(loaded, task, tensors, pool=pool_of(bundle.arch))
    config = finetune_config(
        steps=chosen.steps,
        epochs=chosen.epochs,
        num_train=len(task.train),
        seed=chosen.seed,
        has_fitted_head=headed.has_fitted_head,
        kind=task.kind,
    )
    config = dataclasses.replace(
        config, relation_scale=chosen.relation_scale, accumulate=chosen.accumulate, compile=chosen.compile
    )
    teacher = _teacher(headed.model, chosen, tensors, config, cache_dir=cache_dir, hooks=hooks)
    run_key = content_key(begun_from, task.task_id, str(config), teacher.teacher_id)
    return _Run(folder, bundle, parts, chosen, note, task, tensors, config, teacher, cache_dir / "finetune" / run_key)


def _write(run: _Run, result: FinetuneResult) -> None:
    """Write the bundle with its new weights, and drop what the run was kept with."""
    # The export is of the old weights: without it nothing in the bundle contradicts anything else.
    fresh = dataclasses.replace(
        run.parts,
        model=result.student,
        exported=None,
        certificate=None,
        engine=None,
        build_line=None,
        int8=None,
        lost=(),  # by the weights before, as the next
        compared=(),
        facts=_facts_after(run.bundle, run.request, run.task, result),
    )
    write_bundle(run.folder, fresh, replace=True)
    for folder in further_bundles(run.folder):  # the same model for another device, with a budget of its own
        facts = dataclasses.replace(fresh.facts, budget=certified_budget(read_bundle(folder)))
        write_bundle(folder, dataclasses.replace(fresh, facts=facts), replace=True)
    run.note.unlink(missing_ok=True)
    shutil.rmtree(run.checkpoint_dir, ignore_errors=True)


def _teacher(
    model: PlainViT,
    request: FinetuneRequest,
    tensors: TaskTensors,
    config: FinetuneConfig,
    *,
    cache_dir: Path,
    hooks: Hooks,
) -> Teacher:
    """Let the base teach as it is, or after a fine-tuning of its own of the same length, made once per task."""
    if request.teacher == "base":
        return Teacher(model, cache_dir=cache_dir / "teacher")
    own = FinetuneConfig(seed=request.seed)
    if tensors.train.masks is not None:
        own = dataclasses.replace(own, augment=NO_AUGMENT, mixup=0.0, cutmix=0.0)
    own = of_length(own, config.steps)
    return tuned_teacher(
        model,
        tensors,
        config=own,
        cache_dir=cache_dir / "teacher",
        progress=hooks.finetune,
    )


def _facts_after(bundle: Bundle, request: FinetuneRequest, task: Task, result: FinetuneResult) -> BundleFacts:
    """Return the facts that hold for the new weights, and those of the old weights under other names."""
    facts = bundle.facts
    done = FinetuneFacts(
        steps=result.outcome.steps,
        teacher=request.teacher,
        seed=request.seed,
        top1_search_before=result.before.top1,
        top1_search=result.after.top1,
        miou_search_before=result.before.miou,
        miou_search=result.after.miou,
    )
    return dataclasses.replace(
        facts,
        subnet_id=bundle.subnet_id or None,
        base=facts.base or request.base,
        data=task.data,
        task_id=task.task_id,
        label_column=request.label_column,
        # the accuracy on the test split was that of the weights before; the split is not opened again for these
        top1=None,
        scores=None,
        pixel_scores=None,
        top1_before_finetune=facts.top1_before_finetune if facts.top1 is None else facts.top1,
        finetunes=(*facts.finetunes, done),
        budget=certified_budget(bundle),
        int8=None,  # of the graph that goes
        none_below=None,  # of the probabilities that go
    )
