"""Where a subnet comes from and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from nuwa_search.store.database import Database
from nuwa_search.store.records import JsonDict
from nuwa_search.store.tables import (
    DeviceRow,
    EngineRow,
    ExportRow,
    FinetuningRow,
    MeasurementRow,
    ProtocolRow,
    SubnetRow,
)


@dataclass(frozen=True)
class LineageFinetuning:
    """A fine-tuning of a subnet."""

    settings: JsonDict
    result: JsonDict
    weights_hash: str | None
    seconds: float
    created_at: datetime


@dataclass(frozen=True)
class LineageExport:
    """An ONNX file of a subnet, and how far it matches the PyTorch model."""

    onnx_hash: str
    path: str
    opset: int
    agreement: JsonDict
    created_at: datetime


@dataclass(frozen=True)
class LineageEngine:
    """An engine of a subnet, or (``path`` None) the command that builds it on the device."""

    device: str
    path: str | None
    engine_hash: str | None
    command: str
    details: JsonDict
    created_at: datetime


@dataclass(frozen=True)
class LineageMeasurement:
    """A latency that was measured of a subnet."""

    measurement_id: str
    device: str
    device_id: str
    provenance: str
    samples: int
    details: JsonDict
    created_at: datetime
    protocol_id: str
    protocol: JsonDict


@dataclass(frozen=True)
class Lineage:
    """What became of a subnet, each list oldest first; all empty for an unknown one.

    Args:
        created_at: When it was recorded; None for an unknown subnet.
        bundle_dir: None for subnets that were never shipped.
        finetunings: Of its weights.
        exports: To ONNX.
        engines: Built of them.
        measurements: On any device.
    """

    created_at: datetime | None
    bundle_dir: str | None
    finetunings: tuple[LineageFinetuning, ...]
    exports: tuple[LineageExport, ...]
    engines: tuple[LineageEngine, ...]
    measurements: tuple[LineageMeasurement, ...]


def find_lineage(database: Database, subnet_id: str) -> Lineage:
    """Read the fine-tunings, exports, engines and measurements of a subnet; times are aware datetimes."""
    mine = select(SubnetRow.pk).where(SubnetRow.subnet_id == subnet_id).scalar_subquery()
    finetunings = (
        select(
            *(FinetuningRow.settings, FinetuningRow.result, FinetuningRow.weights_hash, FinetuningRow.seconds),
            FinetuningRow.created_at,
        )
        .where(FinetuningRow.subnet_pk == mine)
        .order_by(FinetuningRow.pk)
    )
    exports = (
        select(*(ExportRow.onnx_hash, ExportRow.path, ExportRow.opset, ExportRow.agreement, ExportRow.created_at))
        .where(ExportRow.subnet_pk == mine)
        .order_by(ExportRow.pk)
    )
    engines = (
        select(
            *(DeviceRow.name.label("device"), EngineRow.path, EngineRow.engine_hash, EngineRow.command),
            *(EngineRow.details, EngineRow.created_at),
        )
        .join(ExportRow, ExportRow.pk == EngineRow.export_pk)
        .join(DeviceRow, DeviceRow.pk == EngineRow.device_pk)
        .where(ExportRow.subnet_pk == mine)
        .order_by(EngineRow.pk)
    )
    measurements = (
        select(
            *(MeasurementRow.measurement_id, DeviceRow.name.label("device"), DeviceRow.device_id),
            *(MeasurementRow.provenance, MeasurementRow.samples, MeasurementRow.details, MeasurementRow.created_at),
            *(ProtocolRow.protocol_id, ProtocolRow.content.label("protocol")),
        )
        .join(DeviceRow, DeviceRow.pk == MeasurementRow.device_pk)
        .join(ProtocolRow, ProtocolRow.pk == MeasurementRow.protocol_pk)
        .where(MeasurementRow.subnet_pk == mine)
        .order_by(MeasurementRow.pk)
    )
    with database.read() as connection:
        about = connection.execute(
            select(SubnetRow.created_at, SubnetRow.bundle_dir).where(SubnetRow.subnet_id == subnet_id)
        ).first()
        return Lineage(
            created_at=None if about is None else about.created_at,
            bundle_dir=None if about is None else about.bundle_dir,
            finetunings=tuple(LineageFinetuning(**row) for row in connection.execute(finetunings).mappings()),
            exports=tuple(LineageExport(**row) for row in connection.execute(exports).mappings()),
            engines=tuple(LineageEngine(**row) for row in connection.execute(engines).mappings()),
            measurements=tuple(LineageMeasurement(**row) for row in connection.execute(measurements).mappings()),
        )
