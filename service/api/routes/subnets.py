"""Subnets, and what stands beside them: tasks, bases, budgets."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from nuwa_search.search.derive_command import with_budget_commands, with_derive_commands
from nuwa_search.service.api.answers import Answer, Rows, SubnetRows
from nuwa_search.service.api.context import (
    ClassList,
    Milliseconds,
    PageOf,
    SettingsOf,
    StoreOf,
    Word,
    classes_from_text,
)
from nuwa_search.service.api.subnet_query import SubnetQueryOf
from nuwa_search.service.api.subnet_view import subnet_document
from nuwa_search.service.cli.table_file import delimited
from nuwa_search.store.budget import explain_budget
from nuwa_search.store.marks import find_base_marks, find_tasks

router = APIRouter(tags=["subnets"])


@router.get(
    "/subnets", response_model=SubnetRows, responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
)
def list_subnets(
    store: StoreOf,
    page: PageOf,
    query: SubnetQueryOf,
    format: Annotated[Literal["json", "csv"], Query()] = "json",  # noqa: A002 - the parameter's name
) -> Any:
    """List subnets, as `nuwa query` does; with `format=csv` as a table."""
    end = page.offset + page.limit
    found = store.subnets.find(query.wanted, pareto=query.pareto, sort=query.sort, limit=end + 1)
    rows = with_derive_commands(found[page.offset : end], store)
    if format == "csv":
        names = list(rows[0]) if rows else ["subnet_id"]
        disposition = {"Content-Disposition": 'attachment; filename="subnets.csv"'}
        return Response(delimited(rows, names, ","), media_type="text/csv", headers=disposition)
    next_offset = end if len(found) > end else None
    return {"schema": "nuwa.query/1", "rows": rows, "count": len(rows), "next_offset": next_offset}


@router.get("/subnets/{subnet_id}", response_model=Answer)
def show_subnet(subnet_id: Annotated[Word, Path()], store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Show everything about a subnet: blocks, latencies, scores, lineage, certificates, files."""
    return subnet_document(subnet_id, store, settings)


@router.get("/tasks", response_model=Rows)
def list_tasks(store: StoreOf, device: Word | None = None) -> dict[str, Any]:
    """List the tasks that subnets are known for, newest first."""
    rows = find_tasks(store, device=device)
    return {"schema": "nuwa.task/1", "rows": rows, "count": len(rows)}


@router.get("/bases", response_model=Rows)
def list_bases(
    store: StoreOf, device: Word | None = None, base: Word | None = None, task_id: Word | None = None
) -> dict[str, Any]:
    """List the bases as searches found them, for marks beside their subnets."""
    rows = find_base_marks(store, device=device, base=base, task_id=task_id)
    return {"schema": "nuwa.base/1", "rows": rows, "count": len(rows)}


@router.get("/budgets", response_model=Rows)
def show_budgets(
    store: StoreOf,
    device: Annotated[Word, Query()],
    max_ms: Milliseconds,
    classes: ClassList | None = None,
    base: Word | None = None,
    measured_only: bool = False,
) -> dict[str, Any]:
    """Tell what a budget buys on a device, and what a little more or less would change."""
    found = explain_budget(
        store,
        device=device,
        max_ms=max_ms,
        classes=classes_from_text(classes),
        base=base,
        measured_only=measured_only,
    )
    rows = [answer.to_json() for answer in with_budget_commands(found, store)]
    return {"schema": "nuwa.budget/1", "rows": rows, "count": len(rows)}
