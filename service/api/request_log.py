"""Around every request: an id, safety headers, the counters, and one line in the log for each use."""

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nuwa_search.service.api.metrics import Metrics

logger = logging.getLogger(__name__)

SAFETY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_QUIET = ("/web/", "/favicon.ico", "/healthz", "/readyz", "/metrics")
"""Files of the page, and what is asked every few seconds: logged where they fail; counters count them all."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestLog:
    """Middleware, the outermost.

    Args:
        app: Application that it wraps.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        begun = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFETY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
                headers["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - begun
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = _route_of(scope)
            self._metrics.observe(method=method, route=route, status=status, seconds=seconds)
            about: dict[str, Any] = {
                "request_id": request_id,
                "method": method,
                "path": scope["path"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "client": (scope.get("client") or ("unknown", 0))[0],
            }
            level = logging.DEBUG if status < 400 and scope["path"].startswith(_QUIET) else logging.INFO
            logger.log(level, "request", extra=about)


def _route_of(scope: Scope) -> str:
    """Return the route and not the path: a counter for each subnet would be too many."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "none"
