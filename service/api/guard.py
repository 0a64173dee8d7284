"""Who may ask: host names, pages of other sites, rates, and the token."""

import hashlib
import hmac
import math
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nuwa_search.service.api.problems import HttpError, response_from
from nuwa_search.service.api.ratelimit import RateLimit
from nuwa_search.service.api.settings import ServiceSettings

COOKIE = "nuwa_token"
PAGE = "/"
OPEN_PATHS = (PAGE, "/healthz", "/readyz", "/api/v1/session", "/favicon.ico")
OPEN_FOLDER = "/web/"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_token(given: str | None, settings: ServiceSettings) -> bool:
    """Compare a token in constant time; True where none is wanted."""
    if settings.token is None:
        return True
    digests = (
        hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given or "", settings.token)
    )
    return hmac.compare_digest(*digests)


def token_of(headers: Headers) -> str | None:
    """Read the token from the Authorization header, else from the cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        return value.strip()
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


class Guard:
    """Middleware that turns away what must not reach the routes.

    Args:
        app: Application that it guards.
        settings: Settings of the service.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._settings = settings
        self._rate = RateLimit(per_s=settings.requests_per_s, burst=settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except HttpError as error:
            await response_from(error)(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        """Count the bytes of a body that comes without its length."""
        left = self._settings.max_body_bytes

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"the request is larger than {self._settings.max_body_bytes} bytes")
            return message

        return receive_some

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        path = scope["path"]
        is_page = path == PAGE or path.startswith(OPEN_FOLDER)  # a view takes dozens of these files
        wait_s = 0.0 if is_page else self._rate.wait_s((scope.get("client") or ("unknown", 0))[0])
        if wait_s > 0:
            retry = {"Retry-After": str(math.ceil(wait_s))}
            raise HttpError(429, "too many requests", hint=f"wait {wait_s:.1f} s", headers=retry)
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers)
            _check_body(headers, self._settings.max_body_bytes)
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER) or is_token(token_of(headers), self._settings):
            return
        challenge = {"WWW-Authenticate": "Bearer"}
        raise HttpError(
            401,
            "this service wants a token",
            hint="send Authorization: Bearer TOKEN, or log in on the page",
            headers=challenge,
        )

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not ours: a page of another site may have had its name pointed at this machine."""
        allowed = self._settings.allowed_hosts
        name = _host_name(headers.get("host", ""))
        if allowed and name not in allowed:
            raise HttpError(
                400,
                f"no service for host {name[:80]!r} is here",
                hint="start it with --allow-host NAME to answer under it",
            )


def _check_origin(headers: Headers) -> None:
    """Refuse what a page of another site sends in the user's name."""
    origin = headers.get("origin")
    if origin is None:
        return
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        netloc = ""
    if netloc != headers.get("host", ""):
        raise HttpError(
            403, "a page of another site may not ask for this", hint="use the page that this service serves"
        )


def _check_body(headers: Headers, max_bytes: int) -> None:
    """Take JSON only, and not too much: other content types are what forms of other sites can send."""
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > max_bytes:
        raise HttpError(413, f"the request is larger than {max_bytes} bytes", hint="send less")
    kind = headers.get("content-type", "").partition(";")[0].strip().casefold()
    has_body = length != "0" or "transfer-encoding" in headers
    if has_body and kind != "application/json":
        raise HttpError(415, f"wanted a body of application/json, found {kind[:80] or 'no content type'}")


def _host_name(host: str) -> str:
    """Leave out the port: ``127.0.0.1:8000`` is ``127.0.0.1``, ``[::1]:8000`` is ``[::1]``."""
    if host.startswith("["):
        return host.partition("]")[0].casefold() + "]"
    return host.partition(":")[0].casefold()
