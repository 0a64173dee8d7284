"""Whole-model measurements in the database."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import insert, select

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.device import KernelTime, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.archs import insert_archs
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.devices import insert_device, insert_protocol, spec_from_dict
from nuwa_search.store.fronts import mend_fronts
from nuwa_search.store.latencies import upsert_measured
from nuwa_search.store.records import MeasurementRecord
from nuwa_search.store.tables import ArchRow, DeviceRow, MeasurementRow, ProtocolRow, SubnetRow


def _details(measurement: Measurement) -> dict[str, Any]:
    return {
        "latency_ms": asdict(measurement.latency_ms),
        "breakdown": [asdict(kernel) for kernel in measurement.breakdown],
        "board_interval_ms": measurement.board_interval_ms,
        "peak_memory_mb": measurement.peak_memory_mb,
        "state": dict(measurement.state),
        "warnings": list(measurement.warnings),
    }


def _measurement_from_row(row: Mapping[str, Any]) -> Measurement:
    details = row["details"]
    board = details["board_interval_ms"]
    return Measurement(
        device=spec_from_dict(row["spec"]),
        protocol=MeasureProtocol(**row["protocol"]),
        provenance=row["provenance"],
        latency_ms=LatencyStats(**details["latency_ms"]),
        samples=row["samples"],
        breakdown=tuple(KernelTime(**kernel) for kernel in details["breakdown"]),
        board_interval_ms=None if board is None else (board[0], board[1]),
        peak_memory_mb=details["peak_memory_mb"],
        state=details["state"],
        warnings=tuple(details["warnings"]),
    )


class MeasurementMethods(Database):
    """The store's methods about whole-model measurements."""

    def save_measurement(
        self,
        measurement: Measurement,
        *,
        arch: Arch | None = None,
        subnet_id: str | None = None,
        onnx_hash: str | None = None,
    ) -> str:
        """Store a measurement with its device and protocol; with ``subnet_id`` it becomes that subnet's latency.

        Args:
            measurement: What was measured.
            arch: Shape of the model; taken from the subnet where one is given.
            subnet_id: A recorded subnet that the model is.
            onnx_hash: Hash of the ONNX file that was measured.

        Returns:
            The new ``measurement_id``.

        Raises:
            NuwaError: If the subnet is not recorded, or no arch, subnet or ONNX hash names the model.
        """
        if arch is None and subnet_id is None and onnx_hash is None:
            raise NuwaError(
                "a measurement needs an arch, a subnet or the hash of its ONNX file to say what it is of",
                hint="give arch=, subnet_id= or onnx_hash=",
            )
        measurement_id = uuid.uuid4().hex[:16]
        with self.write() as connection:
            device_pk = insert_device(connection, measurement.device)
            protocol_pk = insert_protocol(connection, measurement.protocol)
            arch_pk = None if arch is None else insert_archs(connection, [arch])[arch.arch_id]
            subnet_pk = None
            if subnet_id is not None:
                found = connection.execute(
                    select(SubnetRow.pk, SubnetRow.arch_pk).where(SubnetRow.subnet_id == subnet_id)
                ).first()
                if found is None:
                    raise NuwaError(f"the database knows no subnet {subnet_id!r}", hint="record the subnet first")
                subnet_pk, arch_pk = found
            values = {
                "measurement_id": measurement_id,
                "device_pk": device_pk,
                "protocol_pk": protocol_pk,
                "arch_pk": arch_pk,
                "subnet_pk": subnet_pk,
                "onnx_hash": onnx_hash,
                "provenance": measurement.provenance,
                "latency_ms": measurement.latency_ms.median,
                "samples": measurement.samples,
                "details": _details(measurement),
                "created_at": utc_now(),
            }
            pk = connection.execute(insert(MeasurementRow).values(values).returning(MeasurementRow.pk)).scalar_one()
            if subnet_pk is not None:
                upsert_measured(
                    connection,
                    subnet_pk=subnet_pk,
                    device_pk=device_pk,
                    measurement_pk=pk,
                    latency_ms=measurement.latency_ms.median,
                    provenance=measurement.provenance,
                )
        if subnet_pk is not None:  # what is of no subnet is on no front
            mend_fronts(self)
        return measurement_id

    def measurements(
        self,
        device_id: str,
        *,
        protocol_id: str | None = None,
        onnx_hash: str | None = None,
        arch_id: str | None = None,
    ) -> tuple[MeasurementRecord, ...]:
        """Read the measurements on a device, oldest first; archs come without gaps.

        Args:
            device_id: The device.
            protocol_id: Only those under this protocol.
            onnx_hash: Only those of this ONNX file.
            arch_id: Only those of this shape, without gaps.
        """
        query = (
            select(
                MeasurementRow.measurement_id,
                MeasurementRow.provenance,
                MeasurementRow.samples,
                MeasurementRow.details,
                MeasurementRow.onnx_hash,
                MeasurementRow.created_at,
                DeviceRow.spec,
                ProtocolRow.content.label("protocol"),
                ArchRow.content.label("arch"),
                SubnetRow.subnet_id,
            )
            .join(DeviceRow, DeviceRow.pk == MeasurementRow.device_pk)
            .join(ProtocolRow, ProtocolRow.pk == MeasurementRow.protocol_pk)
            .outerjoin(ArchRow, ArchRow.pk == MeasurementRow.arch_pk)
            .outerjoin(SubnetRow, SubnetRow.pk == MeasurementRow.subnet_pk)
            .where(DeviceRow.device_id == device_id)
            .order_by(MeasurementRow.pk)
        )
        if protocol_id is not None:
            query = query.where(ProtocolRow.protocol_id == protocol_id)
        if onnx_hash is not None:
            query = query.where(MeasurementRow.onnx_hash == onnx_hash)
        if arch_id is not None:
            query = query.where(ArchRow.arch_id == arch_id)
        with self.read() as connection:
            return tuple(
                MeasurementRecord(
                    measurement_id=row["measurement_id"],
                    measurement=_measurement_from_row(dict(row)),
                    arch=None if row["arch"] is None else arch_from_dict(row["arch"]),
                    subnet_id=row["subnet_id"],
                    onnx_hash=row["onnx_hash"],
                    created_at=row["created_at"],
                )
                for row in connection.execute(query).mappings()
            )
