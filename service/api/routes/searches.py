"""Searches: list, start, watch, cancel, resume."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.job.moved_on import moved_on
from nuwa_search.search.request import dict_from_request, request_from_dict
from nuwa_search.service.api.answers import EventRows, StateName, StudyAnswer, StudyRows, TrialRows
from nuwa_search.service.api.context import MAX_PAGE, LongPageOf, PageOf, SettingsOf, StoreOf, Word
from nuwa_search.service.api.hypervolume import with_hypervolume
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.queueing import enqueue
from nuwa_search.service.api.search_request import NewSearch, SearchChanges, request_from_client, resumed_from_client
from nuwa_search.service.api.stream import BATCH, STREAM_RESPONSES, EventStreams, last_event_id
from nuwa_search.service.api.study_view import events_document, study_document, study_row
from nuwa_search.store.records import JobRecord
from nuwa_search.store.store import Store
from nuwa_search.store.studies import StudyRecord, find_studies, find_study

router = APIRouter(prefix="/searches", tags=["searches"])
StudyName = Annotated[Word, Path(description="Name of a search")]
After = Annotated[int, Query(ge=0, le=2**62)]


@router.get("", response_model=StudyRows)
def list_searches(
    store: StoreOf, page: PageOf, state: StateName | None = None, device: Word | None = None
) -> dict[str, Any]:
    """List searches and queued ones, newest first."""
    found = find_studies(store, state=state, device=device, limit=page.limit + 1, offset=page.offset)
    rows = [study_row(record) for record in found[: page.limit]]
    next_offset = page.offset + page.limit if len(found) > page.limit else None
    return {"schema": "nuwa.study/1", "rows": rows, "count": len(rows), "next_offset": next_offset}


@router.post("", status_code=202, response_model=StudyAnswer)
def start_search(wanted: NewSearch, response: Response, store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Queue a search; a worker takes it up."""
    study, request = request_from_client(wanted, store, settings)
    if find_study(store, study) is not None:
        raise HttpError(409, f"there is a search {study!r} already", hint="choose another name, or resume it")
    enqueue(store, settings, "search", {"request": request, "resume": False}, study=study)
    return _accepted(study, store, response)


@router.get("/{study}", response_model=StudyAnswer)
def show_search(study: StudyName, store: StoreOf) -> dict[str, Any]:
    """Show a search: settings, progress, answer."""
    return study_document(need_study(study, store), store)


@router.get("/{study}/trials", response_model=TrialRows)
def list_trials(study: StudyName, store: StoreOf, page: LongPageOf) -> dict[str, Any]:
    """List every proposal of a search, with the hypervolume after each."""
    record = need_study(study, store)
    trials, reference = with_hypervolume(store.trials(study))
    part = trials[page.offset : page.offset + page.limit]
    own = store.subnet_ids_of_trials(study)
    archs = {str(trial["arch_id"]) for trial in part if trial["number"] not in own}
    shared = store.subnet_ids_of_archs(archs, base_id=record.base_id, task_id=record.task_id)
    return {
        "schema": "nuwa.trial/1",
        "study": study,
        "budget_ms": record.settings["budget_ms"],
        "reference": reference,
        "rows": [
            trial | {"subnet_id": own.get(int(trial["number"])) or shared.get(str(trial["arch_id"]))} for trial in part
        ],
        "count": len(trials),
        "next_offset": page.next_offset(len(trials)),
    }


@router.get("/{study}/events", responses=STREAM_RESPONSES, response_class=Response)
def follow_search(study: StudyName, request: Request, store: StoreOf, after: After = 0) -> Response:
    """Follow a search by server-sent events."""
    need_study(study, store)
    streams: EventStreams = request.app.state.streams
    return streams.respond(
        lambda number: store.events(study, after=number, limit=BATCH),
        lambda: need_study(study, store).state,
        after=last_event_id(request, after),
    )


@router.get("/{study}/log", response_model=EventRows)
def read_log(
    study: StudyName, store: StoreOf, after: After = 0, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100
) -> dict[str, Any]:
    """Read the events of a search as one list."""
    need_study(study, store)
    return events_document(store.events(study, after=after, limit=limit), after=after)


@router.post("/{study}/cancel", status_code=202, response_model=StudyAnswer)
def cancel_search(study: StudyName, response: Response, store: StoreOf) -> dict[str, Any]:
    """Stop a search within seconds, with everything saved."""
    job = _active_job(need_study(study, store))
    store.cancel_job(job.job_id)
    return _accepted(study, store, response)


@router.post("/{study}/resume", status_code=202, response_model=StudyAnswer)
def resume_search(
    study: StudyName, response: Response, store: StoreOf, settings: SettingsOf, changes: SearchChanges | None = None
) -> dict[str, Any]:
    """Queue a search that stopped, to go on as it was started; how long it runs may be changed."""
    moved = moved_on(study, store)
    if moved is not None and moved.is_begun:
        study = moved.study
    record = need_study(study, store)
    request = resumed_from_client(changes, record, store, settings)
    if record.is_alive or record.state == "queued":
        raise HttpError(409, f"search {study!r} is {record.state}", hint="cancel it first")
    is_new = moved is not None and not moved.is_begun
    if moved is not None and is_new:
        study, request = moved.study, dict_from_request(moved.begin(request_from_dict(request)))
    enqueue(store, settings, "search", {"request": request, "resume": not is_new}, study=study)
    return _accepted(study, store, response)


def need_study(study: str, store: Store) -> StudyRecord:
    """Read a search.

    Raises:
        HttpError: 404, if there is none of that name.
    """
    record = find_study(store, study)
    if record is None:
        raise HttpError(404, f"there is no search {study!r}", hint="GET /api/v1/searches lists them")
    return record


def _active_job(record: StudyRecord) -> JobRecord:
    if record.job is not None and record.job.is_active:
        return record.job
    if record.state == "running":
        hint = "press Ctrl-C where it runs" if record.is_alive else "its process is gone: it can be resumed"
        raise HttpError(409, f"search {record.study!r} was started outside the service", hint=hint)
    raise HttpError(409, f"search {record.study!r} is {record.state} already", hint="there is nothing to stop")


def _accepted(study: str, store: Store, response: Response) -> dict[str, Any]:
    response.headers["Location"] = f"/api/v1/searches/{study}"
    try:
        return study_document(need_study(study, store), store)
    except NuwaError as error:
        raise HttpError(503, error.message, hint=error.hint) from error
