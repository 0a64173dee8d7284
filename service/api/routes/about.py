"""Options of a form, and the session of a browser."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nuwa_search.service.api.answers import Access, Answer
from nuwa_search.service.api.context import SettingsOf, StoreOf
from nuwa_search.service.api.guard import COOKIE, is_token, token_of
from nuwa_search.service.api.options_view import options_document
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.settings import ServiceSettings

router = APIRouter(tags=["about"])


class Token(BaseModel):
    """What the service wants to be shown."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(max_length=4096)]


@router.get("/options", response_model=Answer)
def show_options(store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Say what a search can name here, and the default of each setting."""
    return options_document(store, settings)


@router.get("/session", response_model=Access)
def show_session(request: Request, settings: SettingsOf) -> dict[str, Any]:
    """Say whether a token is wanted, and whether this client has shown it."""
    return _session(settings, is_open=is_token(token_of(request.headers), settings))


@router.post("/session", response_model=Access)
def open_session(shown: Token, request: Request, response: Response, settings: SettingsOf) -> dict[str, Any]:
    """Exchange the token for a cookie: browsers send no headers with an event stream or a download."""
    if not is_token(shown.token, settings):
        raise HttpError(401, "this is not the token", hint="it is in the file given with --token-file, or NUWA_TOKEN")
    if settings.token is not None:
        is_secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, settings.token, httponly=True, samesite="strict", secure=is_secure, path="/")
    return _session(settings, is_open=True)


@router.delete("/session", response_model=Access)
def close_session(response: Response, settings: SettingsOf) -> dict[str, Any]:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return _session(settings, is_open=settings.token is None)


def _session(settings: ServiceSettings, *, is_open: bool) -> dict[str, Any]:
    return {"schema": "nuwa.session/1", "needs_token": settings.token is not None, "is_open": is_open}
