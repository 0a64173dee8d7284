"""Cut one subnet and write it as a bundle, without a search."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.tensors import logits_of, task_tensors, top1
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.placement import place_blocks
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.service.workflow.models import arch_from_text
from nuwa_search.service.workflow.record_steps import record_derivation
from nuwa_search.service.workflow.ship import sample_images
from nuwa_search.service.workflow.sources import open_task, task_base
from nuwa_search.store.store import Store


def derive_bundle(
    arch: str,
    *,
    store: Store,
    base: str,
    data: str | None,
    label_column: str | None,
    classes: tuple[str, ...] | None,
    seed: int,
    folder: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """Derive ``arch`` from ``base`` for the named classes, write a bundle without an export, and record both.

    Returns:
        The `nuwa.derive/1` answer without its schema.

    Raises:
        NuwaError: If the arch does not fit in the base.
    """
    loaded = load_base(base)
    task = open_task(loaded, data=data, label_column=label_column, classes=classes, seed=seed)
    tensors = task_tensors(task, loaded.preprocess)
    teacher = task_base(loaded, task, tensors).model
    wanted = _placed(arch_from_text(arch, store), teacher.arch)
    begun = time.monotonic()
    deriver = Deriver(teacher, tensors.train, loaded.preprocess, cache=Cache(cache_dir / "derive"))
    model = deriver.derive(wanted)
    seconds = time.monotonic() - begun
    score = TeacherScorer(teacher, tensors.search, loaded.preprocess, seed=seed).score(model)
    top1_search = top1(logits_of(model, tensors.search.images, loaded.preprocess), tensors.search.labels)
    identity = subnet_id(wanted, loaded.base_id, task.task_id, deriver.options)
    facts = BundleFacts(
        subnet_id=identity,
        base=loaded.name,
        base_id=loaded.base_id,
        data=task.data,
        label_column=label_column,
        task_id=task.task_id,
        derivation=dataclasses.asdict(deriver.options),
        kl_to_teacher_derived=score.kl,
        top1_search_derived=top1_search,
        search_split_seen_by_base=task.search_split_seen_by_base,
    )
    parts = BundleParts(
        model, wanted, task.class_names, loaded.preprocess, samples=sample_images(task.test), facts=facts
    )
    write_bundle(folder, parts, replace=True)
    record_derivation(
        store,
        loaded,
        task,
        wanted,
        identity=identity,
        options=deriver.options,
        scores={"kl_to_teacher": score.kl, "top1_derived": top1_search},
        label_column=label_column,
        seed=seed,
        folder=folder,
    )
    return {
        "subnet_id": identity,
        "arch_id": wanted.arch_id,
        "params": count_params(wanted),
        "macs": count_macs(wanted),
        "seconds": round(seconds, 2),
        "kl_to_teacher": score.kl,
        "top1_search": top1_search,
        "dir": str(folder),
    }


def _placed(arch: Arch, base: Arch) -> Arch:
    """Give the arch the task's head, and say which blocks of the base it takes where it has fewer."""
    headed = dataclasses.replace(arch, num_classes=base.num_classes)
    if len(headed.blocks) == len(base.blocks):
        return headed
    # Without scores the first and last blocks count most: they are what pretrained ViTs miss first.
    depth = len(base.blocks)
    worth = [abs(place - (depth - 1) / 2) for place in range(depth)]
    return place_blocks(headed, base, worth)
