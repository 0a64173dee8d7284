"""Values that the store takes and returns; they know no SQL.

Ids of rows that the store makes itself (measurements, certificates) are None until it has stored
them. Times are aware and in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import DeviceSpec, Measurement, Provenance
from nuwa_search.core.pipeline import FIRST_PIPELINE

JsonDict = dict[str, Any]
SearchState = Literal["running", "done", "infeasible", "interrupted", "failed"]
JobKind = Literal["search", "profile", "bundle"]
JobState = Literal["queued", "running", "done", "infeasible", "interrupted", "failed"]


@dataclass(frozen=True)
class LutEntry:
    """One row of a latency table.

    Args:
        key: Everything that tells this row from others of its table, as plain JSON values (kind,
            block widths, ``embed_dim``, ``num_tokens``, …); order of keys does not matter.
        latency_ms: Its latency in milliseconds.
        provenance: Where the figure is from.
        stats: Samples, spread, chain lengths: what is needed to trust it.
    """

    key: Mapping[str, Any]
    latency_ms: float
    provenance: Provenance
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LutInfo:
    """A latency table without its rows."""

    lut_id: str
    device_id: str
    protocol_id: str
    num_rows: int
    created_at: datetime


@dataclass(frozen=True)
class MeasurementRecord:
    """A stored whole-model measurement; the model is named by its shape, subnet or ONNX hash."""

    measurement_id: str
    measurement: Measurement
    arch: Arch | None
    subnet_id: str | None
    onnx_hash: str | None
    created_at: datetime


@dataclass(frozen=True)
class PredictorRecord:
    """A fitted latency predictor.

    Args:
        predictor_id: Content hash given by the predictor.
        device_id: What it predicts for.
        lut_id: Latency table it was fitted to; None if it needs none.
        content: Everything needed to rebuild it, as JSON.
        report: Its report card.
        created_at: None until stored.
    """

    predictor_id: str
    device_id: str
    lut_id: str | None
    content: JsonDict
    report: JsonDict
    created_at: datetime | None = None


@dataclass(frozen=True)
class BaseRecord:
    """A base ViT: ``base_id`` is the hash of its tensors, ``info`` says where it is from."""

    base_id: str
    name: str
    arch: Arch
    info: JsonDict = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRecord:
    """Some classes of a data set.

    Args:
        task_id: Content hash given by the task.
        data: Name or path of the data as the user gave it.
        data_hash: Hash of the data.
        classes: Class names in the head's order.
        splits: Per split name its hash and number of images, such as
            ``{"train": {"hash": "…", "num_images": 900}}``.
        search_split_seen_by_base: Whether the base was trained on the search split.
        pipeline: Version of the preprocessing that its images went through.
        source: What else it takes to open it again: ``label_column``, ``seed`` and ``split_rule``; empty in rows of
            versions that did not store it.
    """

    task_id: str
    data: str
    data_hash: str
    classes: tuple[str, ...]
    splits: JsonDict
    search_split_seen_by_base: bool
    pipeline: int = FIRST_PIPELINE
    source: JsonDict = field(default_factory=dict)


@dataclass(frozen=True)
class SubnetRecord:
    """A net derived from a base for a task.

    Args:
        subnet_id: Hash of arch, base, task and derivation.
        arch: Its shape, with empty entries for blocks of the base that are gone.
        base_id: A recorded base.
        task_id: A recorded task.
        derivation: How its weights follow from the base's, as JSON.
        study: Study that proposed it; None outside a search.
        trial_number: Number of the Optuna trial; None outside a search.
    """

    subnet_id: str
    arch: Arch
    base_id: str
    task_id: str
    derivation: JsonDict
    study: str | None = None
    trial_number: int | None = None


@dataclass(frozen=True)
class ScoreRecord:
    """One figure of merit of a subnet.

    Args:
        subnet_id: A recorded subnet.
        kind: ``top1`` (final weights), ``top1_derived`` (before fine-tuning), ``top5``,
            ``kl_to_teacher``, …; accuracies are fractions.
        split: ``train``, ``search`` or ``test``.
        num_images: Images it was taken on.
        seed: Seed of the choice of images or of the training behind it.
        value: The figure.
    """

    subnet_id: str
    kind: str
    split: str
    num_images: int
    seed: int
    value: float


@dataclass(frozen=True)
class PredictedLatency:
    """A predicted latency of a recorded subnet with its interval in milliseconds."""

    subnet_id: str
    device_id: str
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    predictor_id: str | None
    provenance: Provenance


@dataclass(frozen=True)
class FinetuneRecord:
    """One fine-tuning of a subnet."""

    subnet_id: str
    settings: JsonDict
    result: JsonDict
    weights_hash: str | None
    seconds: float


@dataclass(frozen=True)
class ExportRecord:
    """One ONNX file of a subnet; ``agreement`` says how far it matches the PyTorch model."""

    subnet_id: str
    onnx_hash: str
    path: str
    opset: int
    agreement: JsonDict


@dataclass(frozen=True)
class EngineRecord:
    """One engine, or (``path`` None) the command that builds it on the device."""

    onnx_hash: str
    device_id: str
    command: str
    path: str | None = None
    engine_hash: str | None = None
    details: JsonDict = field(default_factory=dict)


@dataclass(frozen=True)
class CertificateRecord:
    """The verdict on a compiled model; ``content`` is the certificate file."""

    subnet_id: str
    device_id: str
    budget_ms: float
    verdict: str
    content: JsonDict
    measurement_id: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class SearchTerms:
    """What a search is started with.

    Args:
        device_id: A recorded device.
        budget_ms: The budget in milliseconds.
        seed: Of everything random.
        settings: Everything else that decides the outcome.
        base_id: A recorded base.
        task_id: A recorded task.
        predictor_id: A saved latency predictor that the search starts from.
    """

    device_id: str
    budget_ms: float
    seed: int = 0
    settings: JsonDict = field(default_factory=dict)
    base_id: str | None = None
    task_id: str | None = None
    predictor_id: str | None = None


@dataclass(frozen=True)
class SearchRecord:
    """A search as it stands in the database; ``result`` is its ``nuwa.search/1`` answer."""

    study: str
    state: SearchState
    device_id: str
    budget_ms: float
    seed: int
    base_id: str | None
    task_id: str | None
    predictor_id: str | None
    settings: JsonDict
    result: JsonDict | None
    owner_host: str | None
    owner_pid: int | None
    heartbeat_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Claim:
    """The exclusive right to run a study; ``previous`` is what an earlier run left, None for a new study."""

    study: str
    token: str
    previous: SearchRecord | None


@dataclass(frozen=True)
class JobRecord:
    """Work for a worker as it stands in the database.

    Args:
        job_id: Made by the store.
        kind: What is to be done.
        study: Search that it runs; None for other kinds.
        state: ``queued`` and ``running`` jobs are active, the others are over.
        settings: What was asked for, as JSON.
        result: The answer as JSON; None until there is one.
        problem: ``message``, ``hint`` and ``exit_code`` of what it failed on.
        is_cancel_wanted: Whether its worker was told to stop.
        attempts: How often a worker took it up.
        owner_host: Of the worker that has or had it.
        owner_pid: Of that worker.
        heartbeat_at: Its last sign of life.
        created_at: When it was asked for.
        started_at: When a worker took it up first.
        finished_at: When it was over.
    """

    job_id: str
    kind: JobKind
    study: str | None
    state: JobState
    settings: JsonDict
    result: JsonDict | None
    problem: JsonDict | None
    is_cancel_wanted: bool
    attempts: int
    owner_host: str | None
    owner_pid: int | None
    heartbeat_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_active(self) -> bool:
        """Whether it waits for a worker or is with one."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class JobClaim:
    """The exclusive right to do a job."""

    job: JobRecord
    token: str


@dataclass(frozen=True)
class Event:
    """Something that happened in a search or a job; ``number`` grows within the database.

    ``study`` is empty for jobs that belong to no search.
    """

    number: int
    study: str
    kind: str
    payload: JsonDict
    created_at: datetime


@dataclass(frozen=True)
class DeviceRecord:
    """A device the database knows; ``is_listed`` is False once it was removed (its figures stay)."""

    spec: DeviceSpec
    is_listed: bool
    created_at: datetime


@dataclass(frozen=True)
class BoardRecord:
    """A board of a pool.

    Args:
        name: Of its device.
        pool: It belongs to.
        ratio: Its latencies against the median board of the pool, as reference nets say; None before they were taken.
        ratio_interval: 95 % interval of it; None where one board alone was measured.
        compared_at: When they were taken.
        out_reason: Why it is out; None while it takes part.
        out_at: When it left.
        examined_at: When it was looked at last since then.
        num_leases: How often it was lent.
        leased_at: When it was lent last.
        is_leased: Whether somebody who lives has it now.
    """

    name: str
    pool: str
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    compared_at: datetime | None
    out_reason: str | None
    out_at: datetime | None
    examined_at: datetime | None
    num_leases: int
    leased_at: datetime | None
    is_leased: bool


@dataclass(frozen=True)
class BoardLease:
    """The right to measure on a board alone, until it is given back or its holder falls silent.

    Args:
        board: Name of its device.
        pool: It belongs to.
        party: Who holds it, among those who share boards evenly.
        token: Of this one lease.
    """

    board: str
    pool: str
    party: str
    token: str


@dataclass(frozen=True)
class BoardRatio:
    """How far a board is from the median of its pool.

    Args:
        board: Name of its device.
        ratio: Its latencies over the median board's.
        interval: 95 % interval; None where there was nothing to tell it from.
    """

    board: str
    ratio: float
    interval: tuple[float, float] | None

    @property
    def is_off(self) -> bool:
        """Whether it differs from the median by more than the noise of measuring both."""
        return self.interval is not None and not self.interval[0] <= 1.0 <= self.interval[1]
