"""What a row of each answer of the database holds, as plain JSON values; known without SQLAlchemy.

A time is text in UTC, ``2026-01-31T09:30:00.000000Z``. None is "not known", or "there is none".
"""

from typing import Any, TypedDict


class SubnetFound(TypedDict):
    """A subnet with what is known of it on one device; without a device where it has no latency."""

    arch_id: str
    subnet_id: str
    device: str | None
    device_id: str | None
    predicted_latency_ms: float | None
    predicted_interval_ms: list[float] | None
    measured_latency_ms: float | None
    provenance: str | None
    top1: float | None
    top1_interval: list[float] | None
    miou: float | None
    split: str | None
    score_kind: str | None
    num_images: int | None
    classes: list[str]
    task_id: str
    base: str
    base_id: str
    macs: int
    params: int
    study: str | None
    trial_number: int | None
    bundle_dir: str | None
    bundle_is_missing: bool
    measurement_id: str | None
    predictor_id: str | None
    pipeline: int
    is_current: bool
    img_size: int | list[int]


class LatencyFound(TypedDict):
    """A latency of a whole model: ``figure`` is ``measured`` or ``predicted``."""

    device: str
    device_id: str
    arch_id: str | None
    subnet_id: str | None
    onnx_hash: str | None
    figure: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    provenance: str
    samples: int | None
    source_id: str | None
    protocol_id: str | None
    created_at: str


class StudyFound(TypedDict):
    """A search, with its settings and its answer; ``seconds`` is what the answer says of its stages."""

    study: str
    state: str
    device: str
    device_id: str
    budget_ms: float
    seed: int
    base: str | None
    classes: list[str] | None
    task_id: str | None
    predictor_id: str | None
    settings: dict[str, Any]
    result: dict[str, Any] | None
    created_at: str
    finished_at: str | None
    heartbeat_at: str | None
    base_id: str | None
    pipeline: int | None
    seconds: dict[str, float] | None


class DeviceFound(TypedDict):
    """A device with what is stored about it."""

    device: str
    device_id: str
    kind: str
    runtime: str
    runtime_version: str
    precision: str
    batch: int
    power_mode: str | None
    is_listed: bool
    num_lut_rows: int
    num_measurements: int
    predictor_id: str | None
    created_at: str


class CertificateFound(TypedDict):
    """A certificate with the content of its file."""

    certificate_id: str
    verdict: str
    budget_ms: float | None
    measured_latency_ms: float | None
    provenance: str | None
    device: str
    device_id: str
    subnet_id: str
    arch_id: str
    measurement_id: str | None
    path: str | None
    content: dict[str, Any]
    created_at: str


class BundleFound(TypedDict):
    """A subnet with the folder of its bundle, and its best-founded accuracy.

    Where pixels have classes that is ``miou``, on the test split, and the rest is null.
    """

    subnet_id: str
    bundle_dir: str
    arch_id: str
    params: int
    base: str
    classes: list[str]
    task_id: str
    study: str | None
    top1: float | None
    top1_interval: list[float] | None
    split: str | None
    num_images: int | None
    miou: float | None
    has_finetuning: bool


class CollaborationFound(TypedDict):
    """A decomposition over several devices with its answer; of ``top1`` and ``miou`` one is null, by ``metric``."""

    study: str
    shipped: str
    devices: list[str]
    budget_ms: float
    mode: str
    predicted_p50_ms: float
    predicted_p95_ms: float
    predicted_mean_ms: float
    metric: str
    top1: float | None
    miou: float | None
    num_images: int
    rival_top1: float | None
    rival_miou: float | None
    rival_latency_ms: float
    provenance: str
    base: str
    base_id: str
    classes: list[str]
    task_id: str
    path: str
    content: dict[str, Any]
    created_at: str
