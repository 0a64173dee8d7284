"""Where a subnet comes from and what became of it, as plain JSON values."""

from typing import Any

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


def find_lineage(database: Database, subnet_id: str) -> JsonDict:
    """Read the fine-tunings, exports, engines and measurements of a subnet, each oldest first.

    Returns:
        ``created_at``, ``bundle_dir`` (None for subnets that were never shipped), ``finetunings``, ``exports``,
        ``engines`` and ``measurements``; times are aware datetimes. Lists are empty for an unknown subnet.
    """
    mine = select(SubnetRow.pk).where(SubnetRow.subnet_id == subnet_id).scalar_subquery()
    queries = {
        "finetunings": select(
            *(FinetuningRow.settings, FinetuningRow.result, FinetuningRow.weights_hash, FinetuningRow.seconds),
            FinetuningRow.created_at,
        )
        .where(FinetuningRow.subnet_pk == mine)
        .order_by(FinetuningRow.pk),
        "exports": select(
            *(ExportRow.onnx_hash, ExportRow.path, ExportRow.opset, ExportRow.agreement, ExportRow.created_at)
        )
        .where(ExportRow.subnet_pk == mine)
        .order_by(ExportRow.pk),
        "engines": select(
            *(DeviceRow.name.label("device"), EngineRow.path, EngineRow.engine_hash, EngineRow.command),
            *(EngineRow.details, EngineRow.created_at),
        )
        .join(ExportRow, ExportRow.pk == EngineRow.export_pk)
        .join(DeviceRow, DeviceRow.pk == EngineRow.device_pk)
        .where(ExportRow.subnet_pk == mine)
        .order_by(EngineRow.pk),
        "measurements": select(
            *(MeasurementRow.measurement_id, DeviceRow.name.label("device"), DeviceRow.device_id),
            *(MeasurementRow.provenance, MeasurementRow.samples, MeasurementRow.details, MeasurementRow.created_at),
            *(ProtocolRow.protocol_id, ProtocolRow.content.label("protocol")),
        )
        .join(DeviceRow, DeviceRow.pk == MeasurementRow.device_pk)
        .join(ProtocolRow, ProtocolRow.pk == MeasurementRow.protocol_pk)
        .where(MeasurementRow.subnet_pk == mine)
        .order_by(MeasurementRow.pk),
    }
    with database.read() as connection:
        about = connection.execute(
            select(SubnetRow.created_at, SubnetRow.bundle_dir).where(SubnetRow.subnet_id == subnet_id)
        ).first()
        found: dict[str, Any] = {
            name: [dict(row) for row in connection.execute(query).mappings()] for name, query in queries.items()
        }
    found["created_at"] = None if about is None else about.created_at
    found["bundle_dir"] = None if about is None else about.bundle_dir
    return found
