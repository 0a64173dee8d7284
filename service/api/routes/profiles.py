"""Profiles of devices, as jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.search.request import MAX_SEED, MAX_SIZES, OPTIONS
from nuwa_search.service.api.answers import EventRows, JobAnswer, PagedRows
from nuwa_search.service.api.context import MAX_PAGE, PageOf, SettingsOf, StoreOf, Word
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.queueing import enqueue
from nuwa_search.service.api.request_model import ImageSize
from nuwa_search.service.api.roots import base_from_client
from nuwa_search.service.api.routes.searches import After
from nuwa_search.service.api.search_request import check_device, size_from_client
from nuwa_search.service.api.stream import BATCH, STREAM_RESPONSES, EventStreams, last_event_id
from nuwa_search.service.api.study_view import events_document, profile_document
from nuwa_search.store.records import JobRecord
from nuwa_search.store.store import Store

router = APIRouter(prefix="/profiles", tags=["profiles"])
JobId = Annotated[Word, Path(description="Id of a profile")]


class NewProfile(BaseModel):
    """The settings of `nuwa profile`."""

    model_config = ConfigDict(extra="forbid")

    device: Word
    base: Word = DEMO_BASE
    img_size: ImageSize | None = None
    img_sizes: Annotated[list[ImageSize], Field(max_length=MAX_SIZES)] | None = None
    minutes: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0


@router.get("", response_model=PagedRows)
def list_profiles(store: StoreOf, page: PageOf) -> dict[str, Any]:
    """List profiles, newest first."""
    found = store.jobs(kind="profile", limit=page.limit + 1, offset=page.offset)
    rows = [profile_document(job) for job in found[: page.limit]]
    next_offset = page.offset + page.limit if len(found) > page.limit else None
    return {"schema": "nuwa.job/1", "rows": rows, "count": len(rows), "next_offset": next_offset}


@router.post("", status_code=202, response_model=JobAnswer)
def start_profile(wanted: NewProfile, response: Response, store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Queue a profile; a worker takes it up."""
    check_device(wanted.device, store)
    asked = wanted.model_dump() | {"base": base_from_client(wanted.base, settings)}
    for name in ("img_size", "img_sizes"):
        asked[name] = size_from_client(OPTIONS[name], asked[name])
    return _accepted(enqueue(store, settings, "profile", asked), response)


@router.get("/{job_id}", response_model=JobAnswer)
def show_profile(job_id: JobId, store: StoreOf) -> dict[str, Any]:
    """Show a profile: settings, state, answer."""
    return profile_document(_need(job_id, store))


@router.get("/{job_id}/events", responses=STREAM_RESPONSES, response_class=Response)
def follow_profile(job_id: JobId, request: Request, store: StoreOf, after: After = 0) -> Response:
    """Follow a profile by server-sent events."""
    _need(job_id, store)
    streams: EventStreams = request.app.state.streams
    return streams.respond(
        lambda number: store.job_events(job_id, after=number, limit=BATCH),
        lambda: _need(job_id, store).state,
        after=last_event_id(request, after),
    )


@router.get("/{job_id}/log", response_model=EventRows)
def read_log(
    job_id: JobId, store: StoreOf, after: After = 0, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100
) -> dict[str, Any]:
    """Read the events of a profile as one list."""
    _need(job_id, store)
    return events_document(store.job_events(job_id, after=after, limit=limit), after=after)


@router.post("/{job_id}/cancel", status_code=202, response_model=JobAnswer)
def cancel_profile(job_id: JobId, response: Response, store: StoreOf) -> dict[str, Any]:
    """Stop a profile; everything measured is saved."""
    job = _need(job_id, store)
    if not job.is_active:
        raise HttpError(409, f"profile {job_id!r} is {job.state} already", hint="there is nothing to stop")
    return _accepted(store.cancel_job(job_id), response)


@router.post("/{job_id}/resume", status_code=202, response_model=JobAnswer)
def resume_profile(job_id: JobId, response: Response, store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Queue a profile anew: what was measured is not measured again. The answer is the new job."""
    job = _need(job_id, store)
    if job.is_active or job.state == "done":
        raise HttpError(409, f"profile {job_id!r} is {job.state}", hint="start another one: POST /api/v1/profiles")
    return _accepted(enqueue(store, settings, "profile", job.settings), response)


def _need(job_id: str, store: Store) -> JobRecord:
    job = store.job(job_id)
    if job is None or job.kind != "profile":
        raise HttpError(404, f"there is no profile {job_id!r}", hint="GET /api/v1/profiles lists them")
    return job


def _accepted(job: JobRecord, response: Response) -> dict[str, Any]:
    response.headers["Location"] = f"/api/v1/profiles/{job.job_id}"
    return profile_document(job)
