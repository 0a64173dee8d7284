"""Collaborations: decompositions of a base over several devices, with their answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from nuwa_search.service.api.answers import Answer, PagedRows
from nuwa_search.service.api.context import PageOf, StoreOf, Word
from nuwa_search.service.api.problems import HttpError

router = APIRouter(prefix="/collaborations", tags=["collaborations"])
Study = Annotated[Word, Path(description="Name of a decomposition")]


@router.get("", response_model=PagedRows)
def list_collaborations(store: StoreOf, page: PageOf, device: Word | None = None) -> dict[str, Any]:
    """List decompositions over several devices, newest first; without their whole answers."""
    found = store.collaborations.find(device=device, limit=page.offset + page.limit + 1)
    part = found[page.offset : page.offset + page.limit]
    rows = [{name: value for name, value in row.items() if name != "content"} for row in part]
    next_offset = page.offset + page.limit if len(found) > page.offset + page.limit else None
    return {"schema": "nuwa.collaboration-list/1", "rows": rows, "count": len(rows), "next_offset": next_offset}


@router.get("/{study}", response_model=Answer)
def show_collaboration(study: Study, store: StoreOf) -> dict[str, Any]:
    """Show the answer of a decomposition."""
    found = store.collaborations.find(study=study)
    if not found:
        raise HttpError(404, f"the database knows no collaboration {study!r}", hint="GET /api/v1/collaborations")
    return found[0]["content"]
