"""A service over a store, asked without a network."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from nuwa_search.service.api.app import create_app
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store

URL = "http://127.0.0.1:8000"


def client_of(store: Store, root: Path, **settings: Any) -> TestClient:
    """Make a client of a new service whose only data root is ``root``."""
    limits = {"requests_per_s": 1e6, "burst": 10**6, "event_poll_s": 0.01} | settings
    app = create_app(store, ServiceSettings(roots=(root.resolve(),), **limits))
    return TestClient(app, base_url=URL, raise_server_exceptions=False)
