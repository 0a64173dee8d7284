"""Errors as `application/problem+json` (RFC 9457) with a hint, never a traceback."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from nuwa_search.core.errors import NoAnswerError, NuwaError, OutsideError
from nuwa_search.core.missing_package import missing_package
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One value that is wrong."""

    where: str
    what: str


class Problem(BaseModel):
    """What every error looks like."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    hint: str
    errors: list[FieldProblem] = Field(default_factory=list)


class HttpError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        detail: What was wanted and what was found.
        hint: What the user can do about it.
        errors: Single values that are wrong.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str = "",
        errors: list[FieldProblem] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.errors = errors or []
        self.headers = headers


def not_found(error: NuwaError) -> HttpError:
    """Answer 404 where the store knows no such thing."""
    return HttpError(404, error.message, hint=error.hint)


def error_from_nuwa(error: NuwaError) -> HttpError:
    """Choose the status of one of our errors: 503 for failures outside, 409 for a no, else 422."""
    status = 503 if isinstance(error, OutsideError) else 409 if isinstance(error, NoAnswerError) else 422
    return HttpError(status, error.message, hint=error.hint)


def response_from(error: HttpError) -> JSONResponse:
    """Render an error."""
    title = HTTPStatus(error.status).phrase
    problem = Problem(title=title, status=error.status, detail=error.detail, hint=error.hint, errors=error.errors)
    return JSONResponse(problem.model_dump(), error.status, headers=error.headers, media_type=MEDIA_TYPE)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    async def on_http_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HttpError)
        return response_from(error)

    async def on_nuwa_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NuwaError)
        return response_from(error_from_nuwa(error))

    async def on_missing_package(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ModuleNotFoundError)
        logger.error("a package is missing", exc_info=error)
        told = missing_package(error)
        return response_from(HttpError(503, told.message, hint=told.hint))

    async def on_framework_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path}"
        hint = {404: "GET /api/v1/openapi.json lists all routes", 413: "send less"}.get(error.status_code, "")
        return response_from(HttpError(error.status_code, detail, hint=hint, headers=dict(error.headers or {})))

    async def on_invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = [_field_problem(one) for one in error.errors()]
        first = found[0] if found else FieldProblem(where="request", what="wrong")
        detail = f"{first.where}: {first.what}"
        if len(found) > 1:
            detail += f" (and {len(found) - 1} more)"
        hint = "docs/api.md and /api/v1/openapi.json say what is wanted"
        return response_from(HttpError(422, detail, hint=hint, errors=found))

    async def on_fault(_request: Request, error: Exception) -> JSONResponse:
        if is_out_of_memory(error):
            logger.error("out of memory", exc_info=error)
            told = out_of_memory(error)
            return response_from(HttpError(503, told.message, hint=told.hint))
        logger.error("internal error", exc_info=error)
        detail = f"internal error, {type(error).__name__}"
        return response_from(HttpError(500, detail, hint="the service's log has the details; please report it"))

    app.add_exception_handler(HttpError, on_http_error)
    app.add_exception_handler(NuwaError, on_nuwa_error)
    app.add_exception_handler(ModuleNotFoundError, on_missing_package)
    app.add_exception_handler(HTTPException, on_framework_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_fault)


def _field_problem(error: dict[str, Any]) -> FieldProblem:
    where = ".".join(str(part) for part in error["loc"])
    return FieldProblem(where=where, what=str(error["msg"]))


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "model": Problem, "content": {MEDIA_TYPE: {}}}
    for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
}
"""For the description of the API: any route may answer with any of these."""
