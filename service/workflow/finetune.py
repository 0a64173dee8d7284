"""Fine-tune the model of a bundle."""

import dataclasses
from pathlib import Path
from typing import Any

from deploy.bundle import read_bundle
from deploy.train.finetune import finetune
from deploy.train.teacher import Teacher
from deploy.write_bundle import parts_from_bundle, write_bundle
from nuwa.base import load_base
from nuwa.cache import content_key
from nuwa.errors import NuwaError
from nuwa.tensors import task_tensors
from nuwa.weights import hash_tensors
from service.workflow.hooks import Hooks
from service.workflow.sources import open_task, task_base
from service.workflow.tune import finetune_config


def finetune_bundle(
    folder: Path,
    *,
    base: str,
    data: str | None,
    label_column: str | None,
    steps: int | None,
    epochs: float | None,
    seed: int,
    resume: bool,
    cache_dir: Path,
    hooks: Hooks,
) -> dict[str, Any]:
    """Fine-tune a bundle with ``base`` as teacher on the bundle's classes and write it back.

    Checkpoints are kept by bundle and settings, so that `resume` continues the very same run.

    Raises:
        NuwaError: If the data lacks classes of the bundle, or the base was made for other images.
    """
    bundle = read_bundle(folder)
    parts = parts_from_bundle(bundle)
    loaded = load_base(base)
    if loaded.preprocess != bundle.preprocess:
        raise NuwaError(f"base {base!r} takes other images than bundle {folder}", hint="name its base with --base")
    task = open_task(loaded, data=data, label_column=label_column, classes=bundle.labels, seed=seed)
    tensors = task_tensors(task, loaded.preprocess)
    headed = task_base(loaded, task, tensors)
    config = finetune_config(
        steps=steps, epochs=epochs, num_train=len(task.train), seed=seed, has_fitted_head=headed.has_fitted_head
    )
    run = content_key(hash_tensors(parts.model.state_dict()), task.task_id, str(dataclasses.asdict(config)))
    result = finetune(
        parts.model,
        teacher=Teacher(headed.model),
        train=tensors.train,
        search=tensors.search,
        preprocess=loaded.preprocess,
        config=config,
        progress=hooks.finetune,
        checkpoint_dir=cache_dir / "finetune" / run,
        resume=resume,
    )
    # The export is of the old weights: without it nothing in the bundle contradicts anything else.
    fresh = dataclasses.replace(
        parts, model=result.student, exported=None, certificate=None, engine=None, build_line=None
    )
    write_bundle(folder, fresh, replace=True)
    return {
        "dir": str(folder),
        "steps": result.outcome.steps,
        "top1_search_before": result.before.top1,
        "top1_search": result.after.top1,
        "resumed_from": result.outcome.resumed_from,
        "seconds": round(result.seconds, 1),
        "weights": hash_tensors(result.student.state_dict()),
    }
