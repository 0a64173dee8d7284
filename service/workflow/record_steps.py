"""Put what single commands do to a bundle into the database, beside what searches put there."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.task import Task
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.service.workflow.inputs import record_source
from nuwa_search.service.workflow.records import record_bundle, record_export, record_finetuning
from nuwa_search.store.records import Score, SubnetRecord
from nuwa_search.store.store import Store


def record_derivation(
    store: Store,
    base: Base,
    task: Task,
    arch: Arch,
    *,
    identity: str,
    options: DeriveOptions,
    scores: dict[str, float],
    label_column: str | None,
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
        label_column: Of the data, as the user named it.
        seed: Of the splits.
        folder: Its bundle.
    """
    record_source(base, task, store, label_column=label_column, seed=seed)
    is_own = _is_own(store, identity, folder)
    if is_own and store.has_subnet(identity):
        store.retire_top1(identity)  # the bundle has the weights as they were derived again
    derivation = dataclasses.asdict(options) | {"origin": "derive"}
    store.record_subnets([SubnetRecord(identity, arch, base.base_id, task.task_id, derivation)])
    num_images = len(task.search)
    store.record_scores(Score(identity, kind, "search", num_images, seed, value) for kind, value in scores.items())
    if is_own:
        store.set_bundle(identity, str(folder.absolute()))


def record_retuned(store: Store, folder: Path, task: Task, config: FinetuneConfig, result: FinetuneResult) -> None:
    """Store the fine-tuning of a bundle, where the database knows its subnet.

    Where it is the subnet's own bundle, the accuracy of its former weights and its certificate are out of date, and
    go; the new accuracy counts if it was taken on the subnet's own task. A copy elsewhere leaves them alone.

    Args:
        store: The database.
        folder: The bundle with the new weights.
        task: Whose search split the result was taken on.
        config: What was done.
        result: What came of it.
    """
    identity = read_bundle(folder).subnet_id
    if not store.has_subnet(identity):
        return
    record_finetuning(store, identity, config, result)
    if not _is_own(store, identity, folder):
        return
    store.forget_certificate(str((folder / CERTIFICATE).absolute()))
    store.retire_top1(identity)
    if store.load_subnet(identity).task_id == task.task_id:
        store.record_scores([Score(identity, "top1", "search", len(task.search), config.seed, result.after.top1)])


def record_reexport(store: Store, folder: Path) -> None:
    """Store a bundle's export with its measurement, where the database knows its subnet."""
    bundle = read_bundle(folder)
    certificate = bundle.certificate
    if certificate is None or not store.has_subnet(bundle.subnet_id):
        return
    store.record_device(certificate.device)
    measurement_id = None
    if certificate.measurement is not None:
        measurement_id = store.save_measurement(certificate.measurement, subnet_id=bundle.subnet_id)
    if _is_own(store, bundle.subnet_id, folder):
        record_bundle(store, folder, measurement_id=measurement_id)
    else:
        record_export(store, bundle)


def record_built(store: Store, folder: Path) -> None:
    """Store the line that builds a bundle's engine on the device it was exported for, where its subnet is known.

    An engine that TensorRT's Python API built here came from a graph of its own, which the bundle does not keep:
    its certificate and ``engine.json`` say what it is.
    """
    bundle = read_bundle(folder)
    if bundle.certificate is not None and store.has_subnet(bundle.subnet_id):
        store.record_device(bundle.certificate.device)
        record_export(store, bundle)


def _is_own(store: Store, identity: str, folder: Path) -> bool:
    """Whether a folder is where the database has a subnet's bundle, or it has none."""
    known = store.bundle_dir_of(identity)
    return known is None or Path(known).resolve() == folder.resolve() or not Path(known).exists()


@contextmanager
def said_not_raised(say: Callable[[str], None]) -> Iterator[None]:
    """Say that something could not be recorded, instead of failing after it was done.

    Args:
        say: Shows a line to the user.
    """
    try:
        yield
    except NuwaError as error:
        say(f"not recorded in the database: {error.message}")
