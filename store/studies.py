"""Searches as people see them: what runs or ran, and what still waits in the queue, as one list."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.jobs import JobMethods
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.records import JobRecord, JobState, JsonDict
from nuwa_search.store.tables import BaseNetRow, DeviceRow, JobRow, PredictorRow, SearchRow, TaskRow


@dataclass(frozen=True)
class StudyRecord:
    """A search with its newest job.

    Args:
        study: Its name.
        state: What holds now, going by search and job together.
        is_alive: Whether a process works on it, or it waits in the queue.
        settings: The request, as JSON.
        device: Name of the device.
        device_id: None while it was never started.
        base: Name of the base.
        base_id: None while it was never started.
        classes: Of the task; as asked for while it was never started, None for all.
        task_id: None while it was never started.
        predictor_id: None while none was chosen.
        result: The answer; None until there is one.
        job: The newest job; None for searches started outside the service.
        created_at: When it was asked for.
        finished_at: None until it is over.
    """

    study: str
    state: JobState
    is_alive: bool
    settings: JsonDict
    device: str
    device_id: str | None
    base: str
    base_id: str | None
    classes: list[str] | None
    task_id: str | None
    predictor_id: str | None
    result: JsonDict | None
    job: JobRecord | None
    created_at: datetime
    finished_at: datetime | None


def find_study(database: JobMethods, study: str) -> StudyRecord | None:
    """Read a search or a queued one; None where there is none of that name."""
    found = _read(database, [study])
    return found[0] if found else None


def find_studies(
    database: JobMethods, *, state: str | None = None, device: str | None = None, limit: int, offset: int = 0
) -> list[StudyRecord]:
    """List searches and queued ones, newest first.

    Args:
        database: The store.
        state: Only in this state.
        device: Only for the device of this name or id, further devices of a search included.
        limit: At most so many.
        offset: Leave out so many of the newest.
    """
    begun = select(SearchRow.study, SearchRow.created_at)
    waiting = select(JobRow.study, func.min(JobRow.created_at)).where(JobRow.study.is_not(None)).group_by(JobRow.study)
    with database.read() as connection:
        born: dict[str, datetime] = {}
        for name, at in (*connection.execute(waiting), *connection.execute(begun)):
            born[str(name)] = min(at, born.get(str(name), at))
    names = sorted(born, key=lambda name: (born[name], name), reverse=True)
    if state is None and device is None:
        return _read(database, names[offset : offset + limit])
    wanted = [
        record
        for record in _read(database, names)
        if (state is None or record.state == state) and (device is None or device in _devices_of(record))
    ]
    return wanted[offset : offset + limit]


def _devices_of(record: StudyRecord) -> set[str | None]:
    """Name the devices of a search; further ones stand behind the @ of their budgets, ``8@jetson-orin-nano``."""
    more = record.settings.get("more_budgets") or ()
    return {record.device, record.device_id, *(str(text).partition("@")[2] for text in more)}


def _read(database: JobMethods, names: list[str]) -> list[StudyRecord]:
    rows: dict[str, Any] = {}
    with database.read() as connection:
        query = (
            select(
                *(SearchRow.study, SearchRow.state, SearchRow.settings, SearchRow.result, SearchRow.created_at),
                SearchRow.budget_ms,
                *(SearchRow.finished_at, SearchRow.heartbeat_at, SearchRow.owner_host, SearchRow.owner_pid),
                *(DeviceRow.name.label("device"), DeviceRow.device_id, BaseNetRow.name.label("base")),
                *(BaseNetRow.base_id, TaskRow.classes, TaskRow.task_id, PredictorRow.predictor_id),
            )
            .join(DeviceRow, DeviceRow.pk == SearchRow.device_pk)
            .outerjoin(BaseNetRow, BaseNetRow.pk == SearchRow.base_pk)
            .outerjoin(TaskRow, TaskRow.pk == SearchRow.task_pk)
            .outerjoin(PredictorRow, PredictorRow.pk == SearchRow.predictor_pk)
        )
        for row in connection.execute(query.where(SearchRow.study.in_(names))):
            rows[row.study] = row
    jobs = _newest_jobs(database, names)
    found = [_merge(name, rows.get(name), jobs.get(name)) for name in names]
    return [record for record in found if record is not None]


def _newest_jobs(database: Database, names: list[str]) -> dict[str, JobRecord]:
    newest = select(func.max(JobRow.pk)).where(JobRow.study.in_(names)).group_by(JobRow.study)
    columns = [getattr(JobRow, name) for name in JobRecord.__dataclass_fields__]
    with database.read() as connection:
        records = [JobRecord(*row) for row in connection.execute(select(*columns).where(JobRow.pk.in_(newest)))]
    return {str(record.study): record for record in records}


def _merge(study: str, row: Any, job: JobRecord | None) -> StudyRecord | None:
    if row is None and job is None:
        return None
    state, is_alive = _state_of(row, job)
    # what a program wrote by its own hand may have empty settings; the column is there in any case
    asked: JsonDict = {} if row is None else {"budget_ms": row.budget_ms} | row.settings
    if job is not None and (row is None or job.is_active):
        asked = job.settings["request"]
    ends: list[datetime | None] = [None if row is None else row.finished_at, None if job is None else job.finished_at]
    return StudyRecord(
        study=study,
        state=state,
        is_alive=is_alive,
        settings=asked,
        device=row.device if row is not None else asked["device"],
        device_id=row.device_id if row is not None else None,
        base=(row.base if row is not None else None) or asked.get("base", "default"),
        base_id=row.base_id if row is not None else None,
        classes=(row.classes if row is not None else None) or asked.get("classes"),
        task_id=row.task_id if row is not None else None,
        predictor_id=row.predictor_id if row is not None else None,
        result=row.result if row is not None else None,
        job=job,
        created_at=row.created_at if job is None or (row and row.created_at < job.created_at) else job.created_at,
        finished_at=None
        if state in ("queued", "running")
        else max((at for at in ends if at is not None), default=None),
    )


def _state_of(row: Any, job: JobRecord | None) -> tuple[JobState, bool]:
    """Tell the state, and whether anything happens or will: an active job says it, else whichever ended last."""
    if job is not None and job.state == "queued":
        return "queued", True
    if job is not None and (row is None or job.is_active):
        return job.state, job.is_active and _lives(job)
    if job is not None and job.finished_at is not None:
        last_seen = row.finished_at or row.heartbeat_at
        if last_seen is None or job.finished_at >= last_seen:
            return job.state, False
    return row.state, row.state == "running" and _lives(row)


def _lives(owned: Any) -> bool:
    return is_owner_alive(host=owned.owner_host, pid=owned.owner_pid, heartbeat_at=owned.heartbeat_at, now=utc_now())
