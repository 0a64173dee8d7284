"""Send generated requests to the service, and hold every answer against its description."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from nuwa_search.service.api.app import create_app
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store, open_store
from tests.support.page_store import STUDY, Seeded, seed_page_store

HEADERS = {"host": "127.0.0.1"}
SECRET = "what lies beside the data root"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TRAVERSALS = (
    *("../secret.txt", "../../etc/passwd", "/etc/passwd", "~/.ssh/id_rsa", "..", ".", "a/../../secret.txt", "//secret"),
    *("..\\secret.txt", "....//secret.txt", "%2e%2e/secret.txt", "link/secret.txt", "link", "file:///etc/passwd", "\0"),
    *(
        "hf-hub:a/b",
        "a" * 299,
        "a/" * 149,
        "CON",
        "runs/\u202e",
        ".hidden",
        "-rf",
        "$(id)",
        "';--",
        "\u0000x",
        "é" * 99,
    ),
)


def make_service(folder: Path) -> tuple[Store, FastAPI, Seeded]:
    """Make a service over a filled store, with a secret beside its data root and a link in it that leads there."""
    root = folder / "root"
    root.mkdir(parents=True)
    (folder / "secret.txt").write_text(SECRET)
    (root / "link").symlink_to(folder)
    store = open_store(str(folder / "nuwa.sqlite"))
    seeded = seed_page_store(store, root)
    (root / "winner" / "leak.txt").symlink_to(folder / "secret.txt")
    limits = ServiceSettings(roots=(root.resolve(),), requests_per_s=1e9, burst=10**9, max_active_jobs=10**9)
    return store, create_app(store, limits), seeded


def fuzz(app: FastAPI, seeded: Seeded, *, num_requests: int, seed: int) -> Counter[int]:
    """Send at least ``num_requests`` requests; half of them name things that exist.

    Returns:
        How often each status was answered.

    Raises:
        Exception: From schemathesis, if an answer is not as described; AssertionError if it tells the secret.
    """
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HEADERS)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    known = {
        "subnet_id": seeded.winner_id, "study": STUDY, "device": "jetson-nano", "name": "arch.json",
        "lut_id": "0" * 16, "arch_id": "0" * 16, "job_id": "0" * 16,
    }  # fmt: skip
    chance, found = random.Random(seed), Counter[int]()
    each = -(-num_requests // (2 * len(operations)))
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @with_seed(seed)
            @settings(
                max_examples=each, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case[Any]) -> None:
                for name in case.path_parameters or {}:
                    if chance.random() < 0.5:
                        case.path_parameters[name] = known.get(name, "0")
                response = case.call(headers=HEADERS, timeout=30)
                found[response.status_code] += 1
                assert SECRET.encode() not in response.content
                case.validate_response(response, checks=CHECKS, headers=HEADERS)

            try:
                send()
            except Unsatisfiable:  # nothing can be wrong about a route without parameters
                continue
    return found


def hostile_paths(seeded: Seeded) -> Iterator[tuple[str, str, dict[str, object] | None]]:
    """List requests that try to leave the roots: method, path, body."""
    for text in TRAVERSALS:
        plain = [text] if text.isascii() and text.isprintable() else []  # no client sends anything else unescaped
        for name in (*plain, quote(text, safe=""), quote(quote(text, safe=""), safe="")):
            yield "GET", f"/api/v1/subnets/{seeded.winner_id}/files/{name}", None
            yield "GET", f"/web/{name}", None
        for field in ("base", "data", "output"):
            yield "POST", "/api/v1/searches", {"budget_ms": 5.0, "data": "link", field: text}
        yield "POST", "/api/v1/profiles", {"device": "jetson-nano", "base": text}
    yield "GET", f"/api/v1/subnets/{seeded.winner_id}/files/leak.txt", None
    yield "GET", f"/api/v1/subnets/{seeded.winner_id}/bundle.zip", None


def paths_of_jobs(store: Store) -> set[str]:
    """List every path that a queued job names."""
    found: set[str] = set()
    for job in store.jobs():
        asked = job.settings.get("request", job.settings)
        found |= {str(asked[name]) for name in ("base", "data", "bundle_dir") if asked.get(name) is not None}
    return found - {"default"}
