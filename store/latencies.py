"""The rows that queries read: what is known about the latency of each subnet on each device."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, case, func, select

from nuwa_search.store.clock import utc_now
from nuwa_search.store.records import PredictedLatency
from nuwa_search.store.rows import chunks, excluded, need_pks, upsert
from nuwa_search.store.tables import DeviceRow, LatencyRow, PredictorRow, SubnetRow


def _subnet_columns(connection: Connection, subnet_pks: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Read what latency rows repeat of their subnets."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks(subnet_pks):
        query = select(SubnetRow.pk, SubnetRow.task_pk, SubnetRow.base_pk).where(SubnetRow.pk.in_(chunk))
        for pk, task_pk, base_pk in connection.execute(query):
            found[pk] = {"subnet_pk": pk, "task_pk": task_pk, "base_pk": base_pk}
    return found


def upsert_predicted(connection: Connection, predictions: Sequence[PredictedLatency]) -> None:
    """Store predictions; a measured latency keeps its place as the row's ``latency_ms``."""
    subnets = need_pks(connection, SubnetRow.pk, SubnetRow.subnet_id, (p.subnet_id for p in predictions), noun="subnet")
    devices = need_pks(connection, DeviceRow.pk, DeviceRow.device_id, (p.device_id for p in predictions), noun="device")
    predictor_ids = {p.predictor_id for p in predictions if p.predictor_id is not None}
    predictors = need_pks(
        connection, PredictorRow.pk, PredictorRow.predictor_id, predictor_ids, noun="latency predictor"
    )
    repeated = _subnet_columns(connection, sorted(subnets.values()))
    now = utc_now()
    rows = {
        (p.subnet_id, p.device_id): {
            **repeated[subnets[p.subnet_id]],
            "device_pk": devices[p.device_id],
            "latency_ms": p.predicted_latency_ms,
            "predicted_latency_ms": p.predicted_latency_ms,
            "predicted_low_ms": p.predicted_interval_ms[0],
            "predicted_high_ms": p.predicted_interval_ms[1],
            "predictor_pk": None if p.predictor_id is None else predictors[p.predictor_id],
            "predicted_provenance": p.provenance,
            "provenance": p.provenance,
            "updated_at": now,
        }
        for p in predictions
    }
    measured = LatencyRow.measured_latency_ms
    upsert(
        connection,
        LatencyRow,
        rows.values(),
        key=["subnet_pk", "device_pk"],
        update=[
            "predicted_latency_ms",
            "predicted_low_ms",
            "predicted_high_ms",
            "predicted_provenance",
            "predictor_pk",
            "updated_at",
        ],
        update_to={
            "latency_ms": func.coalesce(measured, excluded(LatencyRow, "predicted_latency_ms")),
            "provenance": case((measured.is_(None), excluded(LatencyRow, "provenance")), else_=LatencyRow.provenance),
        },
    )


def upsert_measured(
    connection: Connection, *, subnet_pk: int, device_pk: int, measurement_pk: int, latency_ms: float, provenance: str
) -> None:
    """Store the newest measured latency of a subnet on a device.

    Args:
        connection: A transaction that writes.
        subnet_pk: Of the subnet.
        device_pk: Of the device.
        measurement_pk: Where the figure is from.
        latency_ms: Median in milliseconds.
        provenance: Of the measurement.
    """
    row = {
        **_subnet_columns(connection, [subnet_pk])[subnet_pk],
        "device_pk": device_pk,
        "latency_ms": latency_ms,
        "measured_latency_ms": latency_ms,
        "measurement_pk": measurement_pk,
        "provenance": provenance,
        "updated_at": utc_now(),
    }
    upsert(
        connection,
        LatencyRow,
        [row],
        key=["subnet_pk", "device_pk"],
        update=["latency_ms", "measured_latency_ms", "measurement_pk", "provenance", "updated_at"],
    )
