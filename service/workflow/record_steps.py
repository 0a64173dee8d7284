"""Put what single commands do to a bundle into the database, beside what searches put there."""

import dataclasses
from pathlib import Path

from deploy.bundle import read_bundle
from deploy.train.config import FinetuneConfig
from deploy.train.finetune import FinetuneResult
from nuwa.arch import Arch
from nuwa.base import Base
from nuwa.device import DeviceSpec
from nuwa.store.records import Score, SubnetRecord
from nuwa.store.store import Store
from nuwa.task import Task
from search.derive.options import DeriveOptions
from service.workflow.inputs import record_source
from service.workflow.records import record_bundle, record_export, record_finetuning


def record_derivation(
    store: Store,
    base: Base,
    task: Task,
    arch: Arch,
    *,
    identity: str,
    options: DeriveOptions,
    scores: dict[str, float],
    seed: int,
    folder: Path,
) -> None:
    """Store a subnet that was cut by itself: what it was cut from, its scores on the search split, its bundle.

    Args:
        store: The database.
        base: What it was cut from.
        task: What for.
        arch: Its shape.
        identity: Its ``subnet_id``.
        options: How it was cut.
        scores: By kind.
        seed: Of the splits.
        folder: Its bundle.
    """
    record_source(base, task, store)
    derivation = dataclasses.asdict(options) | {"origin": "derive"}
    store.record_subnets([SubnetRecord(identity, arch, base.base_id, task.task_id, derivation)])
    num_images = len(task.search)
    store.record_scores(Score(identity, kind, "search", num_images, seed, value) for kind, value in scores.items())
    store.set_bundle(identity, str(folder.absolute()))


def record_retuned(
    store: Store, folder: Path, config: FinetuneConfig, result: FinetuneResult, *, num_images: int
) -> bool:
    """Store the fine-tuning of a bundle; False where the database does not know its subnet.

    Args:
        store: The database.
        folder: The bundle with the new weights.
        config: What was done.
        result: What came of it.
        num_images: Of the search split.
    """
    identity = read_bundle(folder).subnet_id
    if not store.has_subnet(identity):
        return False
    record_finetuning(store, identity, config, result)
    store.record_scores([Score(identity, "top1", "search", num_images, config.seed, result.after.top1)])
    store.set_bundle(identity, str(folder.absolute()))
    return True


def record_reexport(store: Store, folder: Path) -> bool:
    """Store a bundle's export with its measurement; False where the database does not know its subnet."""
    bundle = read_bundle(folder)
    certificate = bundle.certificate
    if certificate is None or not store.has_subnet(bundle.subnet_id):
        return False
    store.record_device(certificate.device)
    measurement_id = None
    if certificate.measurement is not None:
        measurement_id = store.save_measurement(certificate.measurement, subnet_id=bundle.subnet_id)
    record_bundle(store, folder, measurement_id=measurement_id)
    return True


def record_built(store: Store, folder: Path, spec: DeviceSpec) -> bool:
    """Store a bundle's engine, or the line that builds it; False where the database does not know its subnet."""
    bundle = read_bundle(folder)
    if not store.has_subnet(bundle.subnet_id):
        return False
    store.record_device(spec)
    store.set_bundle(bundle.subnet_id, str(folder.absolute()))
    record_export(store, bundle, spec)
    return True
