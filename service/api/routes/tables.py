"""Latency tables and archs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.emulator import device_label
from nuwa_search.core.errors import NuwaError
from nuwa_search.service.api.answers import Answer, PagedRows, Rows
from nuwa_search.service.api.context import LongPageOf, StoreOf, Word, moment
from nuwa_search.service.api.coverage import coverage_page
from nuwa_search.service.api.problems import HttpError, not_found
from nuwa_search.store.records import LutInfo

router = APIRouter(tags=["tables"])


@router.get("/tables", response_model=Rows)
def list_tables(store: StoreOf) -> dict[str, Any]:
    """List all latency tables."""
    names = {record.spec.device_id: device_label(record.spec) for record in store.devices()}
    rows = [_table(lut, names) for lut in store.luts()]
    return {"schema": "nuwa.table/1", "rows": rows, "count": len(rows)}


@router.get("/tables/{lut_id}", response_model=PagedRows)
def show_table(lut_id: Annotated[Word, Path()], store: StoreOf, page: LongPageOf) -> dict[str, Any]:
    """Show a latency table and its rows."""
    names = {record.spec.device_id: device_label(record.spec) for record in store.devices()}
    table = next((_table(lut, names) for lut in store.luts() if lut.lut_id == lut_id), None)
    if table is None:
        raise HttpError(404, f"the database knows no latency table {lut_id!r}", hint="GET /api/v1/tables lists them")
    return {"schema": "nuwa.table/1", "table": table} | coverage_page(store, page, lut_id=lut_id)


@router.get("/archs/{arch_id}", response_model=Answer)
def show_arch(arch_id: Annotated[Word, Path()], store: StoreOf) -> dict[str, Any]:
    """Show the shape of a net."""
    try:
        arch = store.load_arch(arch_id)
    except NuwaError as error:
        raise not_found(error) from error
    cost = {"params": count_params(arch), "macs": count_macs(arch)}
    return {"schema": "nuwa.arch/1", "arch_id": arch_id, "arch": dict_from_arch(arch)} | cost


def _table(lut: LutInfo, names: dict[str, str]) -> dict[str, Any]:
    return {
        "lut_id": lut.lut_id,
        "device": names.get(lut.device_id),
        "device_id": lut.device_id,
        "protocol_id": lut.protocol_id,
        "num_rows": lut.num_rows,
        "created_at": moment(lut.created_at),
    }
