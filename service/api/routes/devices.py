"""Devices, what is measured of them, and how good their predictors are."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from nuwa_search.service.api.answers import Answer, PagedRows, Rows
from nuwa_search.service.api.context import LongPageOf, PageOf, StoreOf, Word, moment
from nuwa_search.service.api.coverage import coverage_page
from nuwa_search.service.api.devices_view import device_document, device_rows, spec_of
from nuwa_search.service.api.predictions import model_rows
from nuwa_search.store.records import PredictorRecord

router = APIRouter(prefix="/devices", tags=["devices"])
DeviceName = Annotated[Word, Path(description="Name or id of a device")]


@router.get("", response_model=Rows)
def list_devices(store: StoreOf) -> dict[str, Any]:
    """List built-in devices, added ones, and those that figures are stored of."""
    rows = device_rows(store)
    return {"schema": "nuwa.device/1", "rows": rows, "count": len(rows)}


@router.get("/{device}", response_model=Answer)
def show_device(device: DeviceName, store: StoreOf) -> dict[str, Any]:
    """Show a device with its state, its tables and the report cards of its predictors."""
    spec = spec_of(device, store)
    (row,) = [row for row in device_rows(store) if row["device_id"] == spec.device_id] or [{}]
    tables = [
        {
            "lut_id": lut.lut_id,
            "protocol_id": lut.protocol_id,
            "num_rows": lut.num_rows,
            "created_at": moment(lut.created_at),
        }
        for lut in store.luts()
        if lut.device_id == spec.device_id
    ]
    return {
        "schema": "nuwa.device/1",
        "device": row | device_document(spec),
        "state": store.latest_device_state(spec.device_id),
        "tables": tables,
        "predictors": [_card(record) for record in store.predictors(spec.device_id)],
        "commands": {
            "profile": f"nuwa profile {spec.name}",
            "search": f"nuwa-search --budget-ms MS --device {spec.name}",
        },
    }


@router.get("/{device}/coverage", response_model=PagedRows)
def show_coverage(device: DeviceName, store: StoreOf, page: LongPageOf) -> dict[str, Any]:
    """List what the latency tables of a device hold."""
    spec = spec_of(device, store)
    about = {"schema": "nuwa.coverage/1", "device": spec.name, "device_id": spec.device_id}
    return about | coverage_page(store, page, device_id=spec.device_id)


@router.get("/{device}/models", response_model=PagedRows)
def show_models(device: DeviceName, store: StoreOf, page: PageOf) -> dict[str, Any]:
    """List whole models measured on a device beside what its newest predictor says of them, newest first."""
    spec = spec_of(device, store)
    records = [record for record in store.measurements(spec.device_id) if record.arch is not None][::-1]
    predictor = next(iter(store.predictors(spec.device_id)), None)
    part = records[page.offset : page.offset + page.limit]
    return {
        "schema": "nuwa.models/1",
        "device": spec.name,
        "device_id": spec.device_id,
        "predictor_id": None if predictor is None else predictor.predictor_id,
        "rows": model_rows(part, predictor),
        "count": len(records),
        "next_offset": page.next_offset(len(records)),
    }


def _card(record: PredictorRecord) -> dict[str, Any]:
    return {
        "predictor_id": record.predictor_id,
        "base_arch_id": record.content.get("base_arch_id"),
        "lut_id": record.lut_id,
        "created_at": moment(record.created_at),
        "report": record.report,
    }
