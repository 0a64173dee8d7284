"""Fitted latency predictors in the database."""

from typing import Any

from sqlalchemy import Select, select

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.devices import device_pk_of
from nuwa_search.store.records import PredictorRecord
from nuwa_search.store.rows import optional_pk, upsert
from nuwa_search.store.tables import DeviceRow, LutRow, PredictorRow


def _records_query() -> Select[*tuple[Any, ...]]:
    return (
        select(
            PredictorRow.predictor_id,
            DeviceRow.device_id,
            LutRow.lut_id,
            PredictorRow.content,
            PredictorRow.report,
            PredictorRow.created_at,
        )
        .join(DeviceRow, DeviceRow.pk == PredictorRow.device_pk)
        .outerjoin(LutRow, LutRow.pk == PredictorRow.lut_pk)
        .order_by(PredictorRow.pk.desc())
    )


class PredictorMethods(Database):
    """The store's methods about latency predictors."""

    def save_predictor(self, record: PredictorRecord) -> None:
        """Store a predictor under its id; one that is there already keeps its content and gets the newer report.

        Raises:
            NuwaError: If its device or latency table is not recorded.
        """
        with self.write() as connection:
            values = {
                "predictor_id": record.predictor_id,
                "device_pk": device_pk_of(connection, record.device_id),
                "lut_pk": optional_pk(connection, LutRow.pk, LutRow.lut_id, record.lut_id, noun="latency table"),
                "content": record.content,
                "report": record.report,
                "created_at": utc_now(),
            }
            upsert(connection, PredictorRow, [values], key=["predictor_id"], update=["report"])

    def load_predictor(self, predictor_id: str) -> PredictorRecord:
        """Read a predictor.

        Raises:
            NuwaError: If there is none with that id.
        """
        with self.read() as connection:
            row = connection.execute(_records_query().where(PredictorRow.predictor_id == predictor_id)).first()
        if row is None:
            raise NuwaError(
                f"the database knows no latency predictor {predictor_id!r}", hint="nuwa query devices lists them"
            )
        return PredictorRecord(*row)

    def predictors(self, device_id: str) -> tuple[PredictorRecord, ...]:
        """Read all predictors of a device, newest first."""
        with self.read() as connection:
            rows = connection.execute(_records_query().where(DeviceRow.device_id == device_id))
            return tuple(PredictorRecord(*row) for row in rows)
