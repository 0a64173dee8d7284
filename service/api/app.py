"""Put the service together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from nuwa_search.core.version import __version__
from nuwa_search.service.api.guard import Guard
from nuwa_search.service.api.metrics import Metrics
from nuwa_search.service.api.page import install_page
from nuwa_search.service.api.problems import PROBLEM_RESPONSES, install_problem_handlers
from nuwa_search.service.api.request_log import RequestLog
from nuwa_search.service.api.routes import (
    about,
    bundles,
    collaborations,
    compared,
    comparisons,
    devices,
    health,
    lost,
    profiles,
    searches,
    subnets,
    tables,
)
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.stream import EventStreams
from nuwa_search.store.store import Store

PREFIX = "/api/v1"


def create_app(store: Store, settings: ServiceSettings) -> FastAPI:
    """Build the application over an opened store.

    Args:
        store: The database; whoever opened it closes it.
        settings: Roots, token, limits.
    """
    app = FastAPI(
        title="nuwa-search",
        version=__version__,
        description="Latency-aware search for Vision Transformers: what is known, and more of it on request.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # the viewers load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    metrics = Metrics()
    app.state.store, app.state.settings, app.state.metrics = store, settings, metrics
    app.state.streams = EventStreams(settings, metrics)
    for router in (
        about,
        devices,
        tables,
        bundles,
        subnets,
        comparisons,
        searches,
        lost,
        compared,
        profiles,
        collaborations,
    ):
        app.include_router(router.router, prefix=PREFIX, responses=PROBLEM_RESPONSES)
    app.include_router(health.router, responses=PROBLEM_RESPONSES)
    install_page(app)
    install_problem_handlers(app)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.streams.close()
