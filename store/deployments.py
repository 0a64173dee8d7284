"""Fine-tunings, exports, engines and certificates in the database."""

import uuid

from sqlalchemy import delete, insert, select

from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.devices import device_pk_of
from nuwa_search.store.records import CertificateRecord, EngineRecord, ExportRecord, FinetuneRecord
from nuwa_search.store.rows import need_pk, optional_pk, upsert
from nuwa_search.store.tables import CertificateRow, EngineRow, ExportRow, FinetuningRow, MeasurementRow, SubnetRow


class DeploymentMethods(Database):
    """The store's methods about what becomes of a winner."""

    def record_finetune(self, record: FinetuneRecord) -> None:
        """Store a fine-tuning; one that left the same weights of the same subnet is there already.

        A search that is resumed after its fine-tuning takes the outcome from its checkpoint and comes here again.

        Raises:
            NuwaError: If the subnet is not recorded.
        """
        with self.write() as connection:
            values = {
                "subnet_pk": need_pk(connection, SubnetRow.pk, SubnetRow.subnet_id, record.subnet_id, noun="subnet"),
                "settings": record.settings,
                "result": record.result,
                "weights_hash": record.weights_hash,
                "seconds": record.seconds,
                "created_at": utc_now(),
            }
            same = select(FinetuningRow.pk).where(
                FinetuningRow.subnet_pk == values["subnet_pk"], FinetuningRow.weights_hash == record.weights_hash
            )
            if connection.execute(same.limit(1)).first() is not None:
                return
            connection.execute(insert(FinetuningRow).values(values))

    def record_export(self, record: ExportRecord) -> None:
        """Store an export; the same ONNX file of the same subnet again updates path and agreement.

        Raises:
            NuwaError: If the subnet is not recorded.
        """
        with self.write() as connection:
            values = {
                "subnet_pk": need_pk(connection, SubnetRow.pk, SubnetRow.subnet_id, record.subnet_id, noun="subnet"),
                "onnx_hash": record.onnx_hash,
                "path": record.path,
                "opset": record.opset,
                "agreement": record.agreement,
                "created_at": utc_now(),
            }
            upsert(connection, ExportRow, [values], key=["subnet_pk", "onnx_hash"], update=["path", "agreement"])

    def record_engine(self, record: EngineRecord) -> None:
        """Store an engine, or the command that builds it; an earlier one of the same export at the same place goes.

        Raises:
            NuwaError: If the export or device is not recorded.
        """
        with self.write() as connection:
            values = {
                "export_pk": need_pk(
                    connection, ExportRow.pk, ExportRow.onnx_hash, record.onnx_hash, noun="exported ONNX file"
                ),
                "device_pk": device_pk_of(connection, record.device_id),
                "path": record.path,
                "engine_hash": record.engine_hash,
                "command": record.command,
                "details": record.details,
                "created_at": utc_now(),
            }
            connection.execute(
                delete(EngineRow).where(
                    EngineRow.export_pk == values["export_pk"],
                    EngineRow.device_pk == values["device_pk"],
                    EngineRow.path.is_not_distinct_from(record.path),
                )
            )
            connection.execute(insert(EngineRow).values(values))

    def record_certificate(self, record: CertificateRecord) -> str:
        """Store a certificate and return its ``certificate_id``; one whose file this one replaced goes.

        Raises:
            NuwaError: If the subnet, device or measurement is not recorded.
        """
        certificate_id = uuid.uuid4().hex[:16]
        if record.path is not None:
            self.forget_certificate(record.path)
        with self.write() as connection:
            values = {
                "certificate_id": certificate_id,
                "subnet_pk": need_pk(connection, SubnetRow.pk, SubnetRow.subnet_id, record.subnet_id, noun="subnet"),
                "device_pk": device_pk_of(connection, record.device_id),
                "measurement_pk": optional_pk(
                    connection,
                    MeasurementRow.pk,
                    MeasurementRow.measurement_id,
                    record.measurement_id,
                    noun="measurement",
                ),
                "budget_ms": record.budget_ms,
                "verdict": record.verdict,
                "content": record.content,
                "path": record.path,
                "created_at": utc_now(),
            }
            connection.execute(insert(CertificateRow).values(values))
        return certificate_id

    def forget_certificate(self, path: str) -> None:
        """Remove the certificate whose file is no longer at ``path``; nothing where none is known."""
        with self.write() as connection:
            connection.execute(delete(CertificateRow).where(CertificateRow.path == path))
