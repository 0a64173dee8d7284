"""Two subnets side by side."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.compare import compare_subnets
from nuwa_search.service.api.answers import Answer
from nuwa_search.service.api.context import StoreOf, Word
from nuwa_search.service.api.problems import not_found

router = APIRouter(tags=["subnets"])


@router.get("/comparisons/{subnet_id}/{other_id}", response_model=Answer)
def compare(subnet_id: Annotated[Word, Path()], other_id: Annotated[Word, Path()], store: StoreOf) -> dict[str, Any]:
    """Put two subnets side by side, as `nuwa compare` does."""
    try:
        return compare_subnets(subnet_id, other_id, store).document()
    except NuwaError as error:
        raise not_found(error) from error
