"""Put what single commands do to a bundle into the database, beside what searches put there."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.task import Task
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.device_bundles import further_bundles
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.job.inputs import record_source
from nuwa_search.search.recording.records import record_bundle, record_certified, record_export, record_finetuning
from nuwa_search.store.records import ScoreRecord, SubnetRecord
from nuwa_search.store.search_scores import SearchScore
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class DerivedSubnet:
    """A subnet that was cut by itself.

    Args:
        subnet_id: Its id.
        arch: Its shape, with empty entries for the blocks that are gone.
        base: What it was cut from.
        task: Task that it was cut for.
        options: Options that it was cut with.
        score: On the search split; None where the database has it already.
        label_column: Label column of the data, as the user named it.
        seed: Seed of the splits.
        folder: Its bundle.
    """

    subnet_id: str
    arch: Arch
    base: Base
    task: Task
    options: DeriveOptions
    score: SearchScore | None
    label_column: str | None
    seed: int
    folder: Path


def record_derivation(store: Store, made: DerivedSubnet) -> None:
    """Store a subnet that was cut by itself: what it was cut from, its scores on the search split, its bundle."""
    identity = made.subnet_id
    record_source(made.base, made.task, store, label_column=made.label_column, seed=made.seed)
    is_own = _is_own(store, identity, made.folder)
    if is_own and store.has_subnet(identity):
        store.retire_top1(identity)  # the bundle has the weights as they were derived again
    derivation = dataclasses.asdict(made.options) | {"origin": "derive"}
    store.record_subnets([SubnetRecord(identity, made.arch, made.base.base_id, made.task.task_id, derivation)])
    if made.score is not None:
        figures = {"kl_to_teacher": made.score.kl_to_teacher, "top1_derived": made.score.top1}
        store.record_scores(
            ScoreRecord(identity, kind, "search", made.score.num_images, made.score.seed, value)
            for kind, value in figures.items()
            if value is not None
        )
    if is_own:
        store.set_bundle(identity, str(made.folder.absolute()))


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
    for one in (folder, *further_bundles(folder)):
        store.forget_certificate(str((one / CERTIFICATE).absolute()))
    store.retire_top1(identity)
    if store.load_subnet(identity).task_id == task.task_id:
        after = result.after
        kind, value = ("top1", after.top1) if after.top1 is not None else (after.metric, after.accuracy)
        store.record_scores([ScoreRecord(identity, kind, "search", len(task.search), config.seed, value)])


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
    elif _is_inside_own(store, bundle.subnet_id, folder):
        record_certified(store, folder, measurement_id=measurement_id)
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


def _is_inside_own(store: Store, identity: str, folder: Path) -> bool:
    """Whether a folder is a further device's bundle inside the one that the database has."""
    known = store.bundle_dir_of(identity)
    return known is not None and folder.resolve() in {path.resolve() for path in further_bundles(Path(known))}


@contextmanager
def said_not_raised(say: Callable[[str], None]) -> Iterator[None]:
    """Show a warning where something cannot be recorded, instead of failing after the work is done.

    Args:
        say: Shows a line to the user.
    """
    try:
        yield
    except NuwaError as error:
        say(f"not recorded in the database: {error.message}")
