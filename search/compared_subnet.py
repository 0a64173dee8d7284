"""One side of a comparison: everything about a stored subnet that another one can be held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.block_parts import BlockPart, block_parts
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.bundle_owner import holds_subnet
from nuwa_search.deploy.bundle_state import state_of
from nuwa_search.search.best_accuracy import BestAccuracy, best_accuracy
from nuwa_search.search.bundle_list import is_finetuned
from nuwa_search.search.derive_command import derive_command
from nuwa_search.search.search_command import search_command
from nuwa_search.store.lineage import Lineage, find_lineage
from nuwa_search.store.records import SubnetRecord
from nuwa_search.store.store import Store
from nuwa_search.store.studies import StudyRecord, find_study
from nuwa_search.store.wanted import SubnetFilter

BYTES = 4
"""Of a weight in a bundle's ``model.safetensors``, which is FP32."""


@dataclass(frozen=True, kw_only=True)
class ComparedLatency(JsonFields):
    """What is known of a subnet's latency on one device.

    Args:
        device: Its name.
        device_id: Its id.
        measured_latency_ms: The median; None where it was not run.
        predicted_latency_ms: None where it was not predicted.
        predicted_interval_ms: About the device as it can be run here.
        board_interval_ms: Where a real board is expected, of an emulated one; None for others.
        provenance: Of the measurement, or else of the prediction.
    """

    device: str
    device_id: str
    measured_latency_ms: float | None
    predicted_latency_ms: float | None
    predicted_interval_ms: list[float] | None
    board_interval_ms: list[float] | None
    provenance: str | None

    @property
    def latency_ms(self) -> float | None:
        """What budgets go by: measured, or predicted where it was not."""
        return self.predicted_latency_ms if self.measured_latency_ms is None else self.measured_latency_ms


@dataclass(frozen=True, kw_only=True)
class ComparedCertificate(JsonFields):
    """A certificate of a subnet; ``is_missing`` says that its file is gone, or another subnet's by now."""

    device: str
    verdict: str
    budget_ms: float | None
    measured_latency_ms: float | None
    provenance: str | None
    is_missing: bool


@dataclass(frozen=True, kw_only=True)
class ComparedBundle(JsonFields):
    """A bundle of a subnet; ``is_finetuned`` and ``size_mb`` are None where it is missing."""

    dir: str
    is_missing: bool
    is_finetuned: bool | None
    size_mb: float | None


@dataclass(frozen=True, kw_only=True)
class Command(JsonFields):
    """A command line, and what it does."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class ComparedSubnet(JsonFields):
    """A stored subnet.

    Args:
        subnet_id: Its id.
        arch_id: Id of its shape.
        base: Name of what it was cut from.
        base_id: Id of that base.
        task_id: Id of the task that it was cut for.
        data: Data of the task.
        classes: Classes of the task.
        study: Search that proposed it.
        trial_number: Number of its trial in that study.
        accuracy: The best-founded one; None where it was never scored so.
        latencies: Per device.
        params: Weights.
        macs: Multiply-accumulates of one image.
        weights_mb: Size of the weights in FP32, in MB of 10^6 bytes.
        img_size: Side of its images in pixels, or their height and width.
        embed_dim: Its width.
        certificates: Newest of each device.
        bundle: None where it was never written.
        blocks: Beside those of its base.
        commands: Commands that make it again.
    """

    subnet_id: str
    arch_id: str
    base: str
    base_id: str
    task_id: str
    data: str
    classes: tuple[str, ...]
    study: str | None
    trial_number: int | None
    accuracy: BestAccuracy | None
    latencies: tuple[ComparedLatency, ...]
    params: int
    macs: int
    weights_mb: float
    img_size: ImgSize
    embed_dim: int
    certificates: tuple[ComparedCertificate, ...]
    bundle: ComparedBundle | None
    blocks: tuple[BlockPart, ...]
    commands: tuple[Command, ...]


def compared_subnet(subnet_id: str, store: Store) -> ComparedSubnet:
    """Read one side.

    Raises:
        NuwaError: If the database knows no such subnet.
    """
    record = store.load_subnet(subnet_id)
    base, task = store.load_base(record.base_id), store.load_task(record.task_id)
    stored = find_lineage(store, subnet_id)
    study = find_study(store, record.study) if record.study is not None else None
    params = count_params(record.arch)
    return ComparedSubnet(
        subnet_id=subnet_id,
        arch_id=record.arch.arch_id,
        base=base.name,
        base_id=base.base_id,
        task_id=task.task_id,
        data=task.data,
        classes=tuple(task.classes),
        study=record.study,
        trial_number=record.trial_number,
        accuracy=best_accuracy(store.scores(subnet_id), _answer(subnet_id, study)),
        latencies=tuple(_latencies(subnet_id, stored, store)),
        params=params,
        macs=count_macs(record.arch),
        weights_mb=BYTES * params / 1e6,
        img_size=record.arch.img_size,
        embed_dim=record.arch.embed_dim,
        certificates=tuple(_certificates(subnet_id, store)),
        bundle=_bundle(subnet_id, stored),
        blocks=tuple(block_parts(record.arch, base.arch)),
        commands=tuple(_commands(record, study, store)),
    )


def _answer(subnet_id: str, study: StudyRecord | None) -> Mapping[str, Any] | None:
    """Find what a search says of the subnet that it shipped."""
    found = ((study.result or {}) if study is not None else {}).get("subnet") or {}
    return found if found.get("subnet_id") == subnet_id else None


def _latencies(subnet_id: str, stored: Lineage, store: Store) -> list[ComparedLatency]:
    board = {one.measurement_id: one.details.get("board_interval_ms") for one in stored.measurements}
    return [
        ComparedLatency(
            device=row["device"] or "",
            device_id=row["device_id"],
            measured_latency_ms=row["measured_latency_ms"],
            predicted_latency_ms=row["predicted_latency_ms"],
            predicted_interval_ms=row["predicted_interval_ms"],
            board_interval_ms=board.get(row["measurement_id"] or ""),
            provenance=row["provenance"],
        )
        for row in store.subnets.find(SubnetFilter(subnet_ids=[subnet_id]))
        if row["device_id"] is not None
    ]


def _certificates(subnet_id: str, store: Store) -> list[ComparedCertificate]:
    newest: dict[str, ComparedCertificate] = {}
    for row in store.certificates.find(subnet_id=subnet_id):
        path = None if row["path"] is None else Path(row["path"])
        certificate = ComparedCertificate(
            device=row["device"],
            verdict=row["verdict"],
            budget_ms=row["budget_ms"],
            measured_latency_ms=row["measured_latency_ms"],
            provenance=row["provenance"],
            is_missing=path is None or not path.is_file() or not holds_subnet(path.parent, subnet_id),
        )
        newest.setdefault(row["device"], certificate)
    return list(newest.values())


def _bundle(subnet_id: str, stored: Lineage) -> ComparedBundle | None:
    if stored.bundle_dir is None:
        return None
    state = state_of(Path(stored.bundle_dir), subnet_id)
    return ComparedBundle(
        dir=stored.bundle_dir,
        is_missing=state is None,
        is_finetuned=None if state is None else is_finetuned(state, has_finetuning=bool(stored.finetunings)),
        size_mb=None if state is None else round(state.size_mb, 3),
    )


def _commands(record: SubnetRecord, study: StudyRecord | None, store: Store) -> list[Command]:
    db, commands = store.command_url, []
    if study is not None and _answer(record.subnet_id, study) is not None:
        again = search_command(study.settings, predictor_id=study.predictor_id, db=db)
        commands.append(Command(what="the search that shipped it, from the same predictor", command=again))
    if record.derivation.get("origin") != "small-model":  # that was trained, not cut
        commands.append(Command(what="cut it again, as it was scored", command=derive_command(record.subnet_id, db=db)))
    return commands
