"""The tables, as SQLAlchemy sees them; migrations create them, ``docs/database.md`` explains them.

Text ids (``device_id``, ``arch_id``, …) are what people and files speak of; integer keys (``pk``)
join the tables, which keeps ten million latency rows small. Every latency row points at the
predictor or measurement it came from, every accuracy at its score row.
"""

from datetime import datetime

from sqlalchemy import JSON, Index, String, Text, UniqueConstraint, desc
from sqlalchemy.orm import Mapped, mapped_column

from nuwa_search.store.columns import BigInt, JsonDict, Key, Origin, Pk, StoreTable, reference

WHERE = "where"
"""Which rows an index holds, in its ``info``: ``postgresql_where`` would import that dialect for every reader."""


class DeviceRow(StoreTable):
    """One device × runtime × precision × power mode (``nuwa_search.core.device.DeviceSpec``)."""

    __tablename__ = "nuwa_devices"

    pk: Mapped[Pk]
    device_id: Mapped[Key] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    runtime: Mapped[str]
    runtime_version: Mapped[str]
    precision: Mapped[str]
    batch: Mapped[int]
    power_mode: Mapped[str | None]
    spec: Mapped[JsonDict]
    is_listed: Mapped[bool]
    created_at: Mapped[datetime]


class DeviceStateRow(StoreTable):
    """Clocks, temperature and load of a device at one moment."""

    __tablename__ = "nuwa_device_states"

    pk: Mapped[Pk]
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    state: Mapped[JsonDict]
    created_at: Mapped[datetime]


class ProtocolRow(StoreTable):
    """How latencies are taken (``nuwa_search.core.device.MeasureProtocol``)."""

    __tablename__ = "nuwa_protocols"

    pk: Mapped[Pk]
    protocol_id: Mapped[Key] = mapped_column(unique=True)
    content: Mapped[JsonDict]


class LutRow(StoreTable):
    """The latency table of one device under one protocol."""

    __tablename__ = "nuwa_luts"
    __table_args__ = (UniqueConstraint("device_pk", "protocol_pk"),)

    pk: Mapped[Pk]
    lut_id: Mapped[Key] = mapped_column(unique=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"))
    protocol_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_protocols.pk"))
    created_at: Mapped[datetime]


class LutEntryRow(StoreTable):
    """One measured shape of a latency table."""

    __tablename__ = "nuwa_lut_entries"
    __table_args__ = (UniqueConstraint("lut_pk", "key_hash"),)

    pk: Mapped[Pk]
    lut_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_luts.pk"))
    key_hash: Mapped[str] = mapped_column(String(16))
    key: Mapped[JsonDict]
    latency_ms: Mapped[float]
    stats: Mapped[JsonDict]
    provenance: Mapped[Origin]
    created_at: Mapped[datetime]


class MeasurementRow(StoreTable):
    """The latency of a whole model on a device (``nuwa_search.core.device.Measurement``)."""

    __tablename__ = "nuwa_measurements"

    pk: Mapped[Pk]
    measurement_id: Mapped[Key] = mapped_column(unique=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    protocol_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_protocols.pk"))
    arch_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_archs.pk"), index=True)
    subnet_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_subnets.pk"), index=True)
    onnx_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    provenance: Mapped[Origin]
    latency_ms: Mapped[float]
    samples: Mapped[int]
    details: Mapped[JsonDict]
    created_at: Mapped[datetime]


class PredictorRow(StoreTable):
    """A fitted latency predictor that searches can pin."""

    __tablename__ = "nuwa_predictors"

    pk: Mapped[Pk]
    predictor_id: Mapped[Key] = mapped_column(unique=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    lut_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_luts.pk"))
    content: Mapped[JsonDict]
    report: Mapped[JsonDict]
    created_at: Mapped[datetime]


class ArchRow(StoreTable):
    """The shape of a net, without the entries of blocks that are gone."""

    __tablename__ = "nuwa_archs"

    pk: Mapped[Pk]
    arch_id: Mapped[Key] = mapped_column(unique=True)
    content: Mapped[JsonDict]
    macs: Mapped[int] = mapped_column(BigInt)
    params: Mapped[int] = mapped_column(BigInt)


class BaseNetRow(StoreTable):
    """A base ViT, identified by the hash of its tensors."""

    __tablename__ = "nuwa_bases"

    pk: Mapped[Pk]
    base_id: Mapped[Key] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(index=True)
    arch_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_archs.pk"))
    info: Mapped[JsonDict]
    created_at: Mapped[datetime]


class TaskRow(StoreTable):
    """Some classes of a data set with their three splits, as one version of the preprocessing shows them.

    ``source`` is what it takes to open them again beside ``data`` and ``classes``; None in rows of earlier versions.
    """

    __tablename__ = "nuwa_tasks"

    pk: Mapped[Pk]
    task_id: Mapped[Key] = mapped_column(unique=True)
    data: Mapped[str]
    data_hash: Mapped[Key]
    classes: Mapped[list[str]]
    classes_hash: Mapped[str] = mapped_column(String(16), index=True)
    splits: Mapped[JsonDict]
    search_split_seen_by_base: Mapped[bool]
    pipeline: Mapped[int] = mapped_column(server_default="1")
    source: Mapped[JsonDict | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]


class SearchRow(StoreTable):
    """One search; ``study`` is also the name of its Optuna study in the same database."""

    __tablename__ = "nuwa_searches"
    pk: Mapped[Pk]
    study: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    budget_ms: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInt)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    base_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_bases.pk"))
    task_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_tasks.pk"))
    predictor_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_predictors.pk"))
    settings: Mapped[JsonDict]
    result: Mapped[JsonDict | None]
    owner_host: Mapped[str | None]
    owner_pid: Mapped[int | None]
    owner_token: Mapped[str | None] = mapped_column(String(32))
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class JobRow(StoreTable):
    """Work that waits for a worker, is done by one, or was; ``study`` names the search it belongs to, if any."""

    __tablename__ = "nuwa_jobs"
    __table_args__ = (
        Index(
            "uq_nuwa_jobs_active_study",
            "study",
            unique=True,
            info={WHERE: "state IN ('queued', 'running')"},
        ),
    )

    pk: Mapped[Pk]
    job_id: Mapped[Key] = mapped_column(unique=True)
    kind: Mapped[str]
    study: Mapped[str | None] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(index=True)
    settings: Mapped[JsonDict]
    result: Mapped[JsonDict | None]
    problem: Mapped[JsonDict | None]
    is_cancel_wanted: Mapped[bool]
    attempts: Mapped[int]
    deaths: Mapped[int]
    owner_host: Mapped[str | None]
    owner_pid: Mapped[int | None]
    owner_token: Mapped[str | None] = mapped_column(String(32))
    heartbeat_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class WorkerRow(StoreTable):
    """A worker process and its last sign of life."""

    __tablename__ = "nuwa_workers"

    pk: Mapped[Pk]
    worker_id: Mapped[Key] = mapped_column(unique=True)
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]


class EventRow(StoreTable):
    """Something that happened in a search or a job; ``pk`` grows and orders them."""

    __tablename__ = "nuwa_events"
    __table_args__ = (Index(None, "search_pk", "pk"), Index(None, "job_pk", "pk"))

    pk: Mapped[Pk]
    search_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_searches.pk"))
    job_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_jobs.pk"))
    kind: Mapped[str]
    payload: Mapped[JsonDict]
    created_at: Mapped[datetime]


class SubnetRow(StoreTable):
    """A net derived from a base for a task; owns every accuracy.

    ``kept_blocks`` has one character per block of the base, ``1`` for those the subnet kept.
    ``top1`` repeats the best-founded score row (``score_pk``).
    """

    __tablename__ = "nuwa_subnets"
    # Its direction is that of ORDER BY: PostgreSQL would otherwise sort, and read far ahead for it.
    __table_args__ = (Index("ix_nuwa_subnets_top1", "task_pk", desc("top1"), "base_pk", "pk"),)

    pk: Mapped[Pk]
    subnet_id: Mapped[Key] = mapped_column(unique=True)
    arch_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_archs.pk"), index=True)
    base_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_bases.pk"))
    task_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_tasks.pk"))
    kept_blocks: Mapped[str]
    derivation: Mapped[JsonDict]
    search_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_searches.pk"), index=True)
    trial_number: Mapped[int | None]
    top1: Mapped[float | None]
    score_pk: Mapped[int | None] = mapped_column(BigInt)
    bundle_dir: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class ScoreRow(StoreTable):
    """One accuracy or divergence of a subnet; ``kind``, ``split``, images and seed tell them apart."""

    __tablename__ = "nuwa_scores"
    __table_args__ = (UniqueConstraint("subnet_pk", "kind", "split", "num_images", "seed"),)

    pk: Mapped[Pk]
    subnet_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_subnets.pk"))
    kind: Mapped[str]
    split: Mapped[str]
    num_images: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInt)
    value: Mapped[float]
    created_at: Mapped[datetime]


class LatencyRow(StoreTable):
    """What is known about the latency of a subnet on a device: the row that queries read.

    ``latency_ms`` is the measured latency, or the predicted one where none was measured; ``task_pk`` and ``base_pk``
    repeat the subnet's, so that one index answers for latencies. Accuracy is the subnet's alone: a new score changes
    one row, on however many devices the subnet has a latency.
    """

    __tablename__ = "nuwa_latencies"
    # They end with every column that filters ask for.
    __table_args__ = (
        Index("ix_nuwa_latencies_latency", "device_pk", "task_pk", "latency_ms", "base_pk", "subnet_pk"),
        Index(
            "ix_nuwa_latencies_measured",
            "device_pk",
            "task_pk",
            "latency_ms",
            "base_pk",
            "subnet_pk",
            info={WHERE: "measured_latency_ms IS NOT NULL"},
        ),
        {"sqlite_with_rowid": False},
    )

    subnet_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_subnets.pk"), primary_key=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), primary_key=True)
    task_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_tasks.pk"))
    base_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_bases.pk"))
    latency_ms: Mapped[float]
    predicted_latency_ms: Mapped[float | None]
    predicted_low_ms: Mapped[float | None]
    predicted_high_ms: Mapped[float | None]
    predicted_provenance: Mapped[str | None]
    predictor_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_predictors.pk"))
    measured_latency_ms: Mapped[float | None]
    measurement_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_measurements.pk"))
    provenance: Mapped[Origin]
    updated_at: Mapped[datetime]


class FinetuningRow(StoreTable):
    """One fine-tuning of a subnet: settings, outcome, hash of the weights it left."""

    __tablename__ = "nuwa_finetunings"

    pk: Mapped[Pk]
    subnet_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_subnets.pk"), index=True)
    settings: Mapped[JsonDict]
    result: Mapped[JsonDict]
    weights_hash: Mapped[str | None] = mapped_column(String(64))
    seconds: Mapped[float]
    created_at: Mapped[datetime]


class ExportRow(StoreTable):
    """One ONNX file made from a subnet, and how far it agrees with the PyTorch model."""

    __tablename__ = "nuwa_exports"
    __table_args__ = (UniqueConstraint("subnet_pk", "onnx_hash"),)

    pk: Mapped[Pk]
    subnet_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_subnets.pk"))
    onnx_hash: Mapped[str] = mapped_column(String(64), index=True)
    path: Mapped[str] = mapped_column(Text)
    opset: Mapped[int]
    agreement: Mapped[JsonDict]
    created_at: Mapped[datetime]


class EngineRow(StoreTable):
    """One engine built from an ONNX file, or the command that builds it where it could not be built here."""

    __tablename__ = "nuwa_engines"

    pk: Mapped[Pk]
    export_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_exports.pk"), index=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    path: Mapped[str | None] = mapped_column(Text)
    engine_hash: Mapped[str | None] = mapped_column(String(64))
    command: Mapped[str] = mapped_column(Text)
    details: Mapped[JsonDict]
    created_at: Mapped[datetime]


class CertificateRow(StoreTable):
    """The verdict on one compiled model against one budget."""

    __tablename__ = "nuwa_certificates"

    pk: Mapped[Pk]
    certificate_id: Mapped[Key] = mapped_column(unique=True)
    subnet_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_subnets.pk"), index=True)
    device_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_devices.pk"), index=True)
    measurement_pk: Mapped[int | None] = mapped_column(BigInt, reference("nuwa_measurements.pk"))
    budget_ms: Mapped[float]
    verdict: Mapped[str]
    content: Mapped[JsonDict]
    path: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class CollaborationRow(StoreTable):
    """One decomposition of a base over several devices, and what came of it."""

    __tablename__ = "nuwa_collaborations"

    pk: Mapped[Pk]
    study: Mapped[str] = mapped_column(unique=True)
    base_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_bases.pk"), index=True)
    task_pk: Mapped[int] = mapped_column(BigInt, reference("nuwa_tasks.pk"), index=True)
    devices: Mapped[list[str]]
    budget_ms: Mapped[float]
    shipped: Mapped[str]
    mode: Mapped[str]
    predicted_p50_ms: Mapped[float]
    predicted_p95_ms: Mapped[float]
    predicted_mean_ms: Mapped[float]
    metric: Mapped[str] = mapped_column(server_default="top1")
    accuracy: Mapped[float]
    num_images: Mapped[int]
    rival_accuracy: Mapped[float]
    rival_latency_ms: Mapped[float]
    provenance: Mapped[Origin]
    path: Mapped[str] = mapped_column(Text)
    content: Mapped[JsonDict]
    created_at: Mapped[datetime]


class BoardRow(StoreTable):
    """A board of a pool: how far it is from the others, why it is out, and who measures on it now."""

    __tablename__ = "nuwa_boards"

    pk: Mapped[Pk]
    name: Mapped[str] = mapped_column(unique=True)
    pool: Mapped[str] = mapped_column(index=True)
    ratio: Mapped[float | None]
    ratio_low: Mapped[float | None]
    ratio_high: Mapped[float | None]
    compared_at: Mapped[datetime | None]
    out_reason: Mapped[str | None] = mapped_column(Text)
    out_at: Mapped[datetime | None]
    examined_at: Mapped[datetime | None]
    num_leases: Mapped[int]
    leased_at: Mapped[datetime | None]
    party: Mapped[str | None] = mapped_column(String(32), index=True)
    owner_host: Mapped[str | None]
    owner_pid: Mapped[int | None]
    owner_token: Mapped[str | None] = mapped_column(String(32))
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class BoardWaitRow(StoreTable):
    """Somebody who waits for a board of a pool, with the last sign of life."""

    __tablename__ = "nuwa_board_waits"
    __table_args__ = (UniqueConstraint("pool", "party"),)

    pk: Mapped[Pk]
    pool: Mapped[str]
    party: Mapped[str] = mapped_column(String(32))
    since: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
