"""Bundles: list them, have one made of any subnet, download what was shipped."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse

from nuwa_search.search.bundle_list import bundle_rows
from nuwa_search.service.api.answers import BundleJobAnswer, EventRows, PagedRows
from nuwa_search.service.api.bundle_view import served_file, served_folder, zip_of
from nuwa_search.service.api.context import MAX_PAGE, PageOf, SettingsOf, StoreOf, Word
from nuwa_search.service.api.making import WantedBundle, bundle_job_document, enqueue_bundle
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.releasing import TemporaryFileResponse
from nuwa_search.service.api.roots import is_inside
from nuwa_search.service.api.routes.searches import After
from nuwa_search.service.api.stream import BATCH, STREAM_RESPONSES, EventStreams, last_event_id
from nuwa_search.service.api.study_view import events_document
from nuwa_search.store.records import JobRecord
from nuwa_search.store.store import Store

router = APIRouter(tags=["bundles"])
SubnetId = Annotated[Word, Path()]
JobId = Annotated[Word, Path(description="Id of a job that makes a bundle")]
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get("/bundles", response_model=PagedRows)
def list_bundles(
    store: StoreOf,
    settings: SettingsOf,
    page: PageOf,
    device: Annotated[Word | None, Query(description="Name of a device that it was exported for")] = None,
) -> dict[str, Any]:
    """List the bundles that the database knows, as `nuwa query bundles` does; of a page, those for a device."""
    found = store.bundles.find(limit=page.limit + 1, offset=page.offset)
    rows = bundle_rows(found[: page.limit], device=device, may_read=lambda folder: is_inside(folder, settings.roots))
    listed = [
        {
            **row,
            "is_served": row["bundle_is_missing"] is False and row["size_mb"] is not None,
            "zip": f"/api/v1/subnets/{quote(row['subnet_id'], safe='')}/bundle.zip",
        }
        for row in rows
    ]
    next_offset = page.offset + page.limit if len(found) > page.limit else None
    return {"schema": "nuwa.query/1", "rows": listed, "count": len(listed), "next_offset": next_offset}


@router.post("/subnets/{subnet_id}/bundle", status_code=202, response_model=BundleJobAnswer)
def make_bundle(
    subnet_id: SubnetId, response: Response, store: StoreOf, settings: SettingsOf, wanted: WantedBundle | None = None
) -> dict[str, Any]:
    """Queue the making of a bundle of any subnet, as it was cut; a worker takes it up."""
    return _accepted(enqueue_bundle(subnet_id, wanted or WantedBundle(), store, settings), response)


@router.get("/bundle-jobs", response_model=PagedRows)
def list_bundle_jobs(store: StoreOf, page: PageOf) -> dict[str, Any]:
    """List what makes or made a bundle, newest first."""
    found = store.jobs(kind="bundle", limit=page.limit + 1, offset=page.offset)
    rows = [bundle_job_document(job) for job in found[: page.limit]]
    next_offset = page.offset + page.limit if len(found) > page.limit else None
    return {"schema": "nuwa.job/1", "rows": rows, "count": len(rows), "next_offset": next_offset}


@router.get("/bundle-jobs/{job_id}", response_model=BundleJobAnswer)
def show_bundle_job(job_id: JobId, store: StoreOf) -> dict[str, Any]:
    """Show how the making of a bundle stands."""
    return bundle_job_document(_need(job_id, store))


@router.get("/bundle-jobs/{job_id}/events", responses=STREAM_RESPONSES, response_class=Response)
def follow_bundle_job(job_id: JobId, request: Request, store: StoreOf, after: After = 0) -> Response:
    """Follow the making of a bundle by server-sent events."""
    _need(job_id, store)
    streams: EventStreams = request.app.state.streams
    return streams.respond(
        lambda number: store.job_events(job_id, after=number, limit=BATCH),
        lambda: _need(job_id, store).state,
        after=last_event_id(request, after),
    )


@router.get("/bundle-jobs/{job_id}/log", response_model=EventRows)
def read_bundle_log(
    job_id: JobId, store: StoreOf, after: After = 0, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100
) -> dict[str, Any]:
    """Read the events of the making of a bundle as one list."""
    _need(job_id, store)
    return events_document(store.job_events(job_id, after=after, limit=limit), after=after)


@router.post("/bundle-jobs/{job_id}/cancel", status_code=202, response_model=BundleJobAnswer)
def cancel_bundle_job(job_id: JobId, response: Response, store: StoreOf) -> dict[str, Any]:
    """Stop the making of a bundle."""
    job = _need(job_id, store)
    if not job.is_active:
        raise HttpError(409, f"bundle job {job_id!r} is {job.state} already", hint="there is nothing to stop")
    return _accepted(store.cancel_job(job_id), response)


@router.get(
    "/subnets/{subnet_id}/bundle.zip",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": _BYTES}, "description": "All files of the bundle"}},
)
def download_bundle(subnet_id: SubnetId, store: StoreOf, settings: SettingsOf) -> TemporaryFileResponse:
    """Download the bundle of a subnet as one archive; one that broke off goes on with Range and If-Range."""
    folder = served_folder(subnet_id, store, settings)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in folder.name)
    return TemporaryFileResponse(zip_of(folder), media_type="application/zip", filename=f"{name}.zip")


@router.get(
    "/subnets/{subnet_id}/files/{name:path}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": _BYTES}, "description": "The file"}},
)
def download_file(
    subnet_id: SubnetId, name: Annotated[Word, Path()], store: StoreOf, settings: SettingsOf
) -> FileResponse:
    """Download one file of the bundle of a subnet."""
    path = served_file(served_folder(subnet_id, store, settings), name)
    # Never shown in the page's own origin, whatever it calls itself.
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


def _need(job_id: str, store: Store) -> JobRecord:
    job = store.job(job_id)
    if job is None or job.kind != "bundle":
        raise HttpError(404, f"there is no bundle job {job_id!r}", hint="GET /api/v1/bundle-jobs lists them")
    return job


def _accepted(job: JobRecord, response: Response) -> dict[str, Any]:
    response.headers["Location"] = f"/api/v1/bundle-jobs/{job.job_id}"
    return bundle_job_document(job)
