"""Whether the service lives, whether it can work, and what it counted."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from nuwa_search.service.api.context import MetricsOf, StoreOf
from nuwa_search.service.api.problems import HttpError
from nuwa_search.store.revisions import HEAD
from nuwa_search.store.schema import find_revision

router = APIRouter(tags=["health"])


@router.get("/healthz")
def show_health() -> dict[str, str]:
    """Answer while the process does."""
    return {"status": "alive"}


@router.get("/readyz")
def show_readiness(store: StoreOf) -> dict[str, str]:
    """Answer 200 when the database answers and its schema is this version's."""
    with store.read() as connection:
        found = find_revision(connection)
    if found != HEAD:
        raise HttpError(
            503, f"the database has schema {found}, this version wants {HEAD}", hint="start the service again"
        )
    return {"status": "ready", "schema": HEAD}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(store: StoreOf, metrics: MetricsOf) -> Any:
    """Write counters in Prometheus' text format."""
    return Response(metrics.render(store), media_type=CONTENT_TYPE_LATEST)
