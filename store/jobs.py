"""The queue of jobs: who does which, and what became of it.

A job is claimed by one conditional UPDATE, so that of several workers exactly one gets it on SQLite and on
PostgreSQL alike. A worker that dies loses its claim as soon as others notice: at once on its own host, after the
lease elsewhere.
"""

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.events import insert_event
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.records import JobClaim, JobKind, JobRecord, JobState, JsonDict
from nuwa_search.store.tables import EventRow, JobRow, SearchRow

MAX_DEATHS = 5
"""Workers that may die one after the other on a job without any progress: something it does kills them."""

_LOOK_AHEAD = 32  # jobs that wait; more than the workers that may ask in the same moment

_COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (
    JobRow.job_id,
    JobRow.kind,
    JobRow.study,
    JobRow.state,
    JobRow.settings,
    JobRow.result,
    JobRow.problem,
    JobRow.is_cancel_wanted,
    JobRow.attempts,
    JobRow.owner_host,
    JobRow.owner_pid,
    JobRow.heartbeat_at,
    JobRow.created_at,
    JobRow.started_at,
    JobRow.finished_at,
)
_OVER: dict[str, Any] = {"owner_token": None, "is_cancel_wanted": False}


def _say(connection: Connection, job_pk: int, state: JobState, reason: str) -> None:
    insert_event(connection, {"job_pk": job_pk, "kind": "state", "payload": {"state": state, "reason": reason}})


class JobMethods(Database):
    """The store's methods about jobs."""

    def add_job(self, kind: JobKind, settings: JsonDict, *, study: str | None = None) -> JobRecord:
        """Queue a job.

        Args:
            kind: What is to be done.
            settings: What was asked for, as JSON.
            study: Search that it runs; a search has at most one active job.

        Raises:
            NuwaError: If the study waits or runs already.
        """
        job_id = uuid.uuid4().hex[:16]
        values = {
            "job_id": job_id,
            "kind": kind,
            "study": study,
            "state": "queued",
            "settings": settings,
            "is_cancel_wanted": False,
            "attempts": 0,
            "deaths": 0,
            "created_at": utc_now(),
        }
        try:
            with self.write() as connection:
                pk = connection.execute(insert(JobRow).values(values).returning(JobRow.pk)).scalar_one()
                _say(connection, pk, "queued", "")
        except IntegrityError as error:
            raise NuwaError(
                f"study {study!r} is queued or running already", hint="wait until it is done, or cancel it first"
            ) from error
        return self._need(job_id)

    def job(self, job_id: str) -> JobRecord | None:
        """Read a job; None where there is none of that id."""
        with self.read() as connection:
            row = connection.execute(select(*_COLUMNS).where(JobRow.job_id == job_id)).first()
            return None if row is None else JobRecord(*row)

    def jobs(
        self, *, kind: JobKind | None = None, study: str | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[JobRecord, ...]:
        """Read jobs, newest first.

        Args:
            kind: Only of this kind.
            study: Only of this search.
            limit: At most so many; None for all.
            offset: Leave out so many of the newest.
        """
        query: Select[*tuple[Any, ...]] = select(*_COLUMNS).order_by(JobRow.pk.desc()).limit(limit).offset(offset)
        if kind is not None:
            query = query.where(JobRow.kind == kind)
        if study is not None:
            query = query.where(JobRow.study == study)
        with self.read() as connection:
            return tuple(JobRecord(*row) for row in connection.execute(query))

    def count_jobs(self) -> dict[tuple[str, str], int]:
        """Count jobs by kind and state."""
        query = select(JobRow.kind, JobRow.state, func.count()).group_by(JobRow.kind, JobRow.state)
        with self.read() as connection:
            return {(kind, state): count for kind, state, count in connection.execute(query)}

    def claim_job(self) -> JobClaim | None:
        """Take up the oldest job that nobody does: a queued one, or one whose worker died; None if there is none."""
        while True:
            now = utc_now()
            rows = self._claimable(now)
            for row in rows:
                if row.state == "running" and is_owner_alive(
                    host=row.owner_host, pid=row.owner_pid, heartbeat_at=row.heartbeat_at, now=now
                ):
                    continue
                claim = self._try_claim(row.pk, state=row.state, token=row.owner_token)
                if claim is not None:
                    return claim
            if sum(row.state == "queued" for row in rows) < _LOOK_AHEAD:
                return None  # all that wait were looked at; others took them

    def _claimable(self, now: datetime) -> list[Any]:
        """Read what runs and the first that wait, oldest first: a queue of a thousand is not read for one job."""
        is_due = or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
        query = select(
            JobRow.pk, JobRow.state, JobRow.owner_host, JobRow.owner_pid, JobRow.owner_token, JobRow.heartbeat_at
        ).where(is_due)
        waiting = query.where(JobRow.state == "queued").order_by(JobRow.pk).limit(_LOOK_AHEAD)
        with self.read() as connection:
            rows = [*connection.execute(query.where(JobRow.state == "running")), *connection.execute(waiting)]
        return sorted(rows, key=lambda row: row.pk)

    def _try_claim(self, pk: int, *, state: str, token: str | None) -> JobClaim | None:
        mine, now = uuid.uuid4().hex, utc_now()
        with self.write() as connection:
            row = connection.execute(select(JobRow.__table__).where(JobRow.pk == pk)).one()
            deaths = self._deaths(connection, row) if state == "running" else row.deaths
            is_hopeless, is_unwanted = deaths >= MAX_DEATHS, state == "running" and row.is_cancel_wanted
            values: dict[str, Any] = {
                "state": "running",
                "owner_host": socket.gethostname(),
                "owner_pid": os.getpid(),
                "owner_token": mine,
                "heartbeat_at": now,
                "claimed_at": now,
                "not_before": None,
                "attempts": row.attempts + 1,
                "deaths": deaths,
                "started_at": row.started_at or now,
            }
            if is_hopeless:
                problem = {
                    "message": f"{deaths} workers died on it one after the other without any progress",
                    "hint": "look for lack of memory in the system's log, then resume it",
                    "exit_code": 3,
                }
                values = {"state": "failed", "finished_at": now, "deaths": 0, "problem": problem, **_OVER}
            elif is_unwanted:
                values = {"state": "interrupted", "finished_at": now, **_OVER}
            changed = connection.execute(
                update(JobRow)
                .where(JobRow.pk == pk, JobRow.state == state, JobRow.owner_token.is_not_distinct_from(token))
                .values(values)
            )
            if not changed.rowcount:
                return None  # another worker was faster
            if is_hopeless or is_unwanted:
                _say(connection, pk, values["state"], "its worker died" if is_hopeless else "cancelled")
                return None
            if state == "running":
                _say(connection, pk, "running", "its worker died; another one goes on")
            found = connection.execute(select(*_COLUMNS).where(JobRow.pk == pk)).one()
        return JobClaim(JobRecord(*found), mine)

    def _deaths(self, connection: Connection, row: Any) -> int:
        """Count deaths in a row: one more, unless the dead worker had got something done."""
        whose = EventRow.job_pk == row.pk
        if row.study is not None:
            whose = or_(whose, EventRow.search_pk.in_(select(SearchRow.pk).where(SearchRow.study == row.study)))
        progress = select(EventRow.pk).where(whose, EventRow.kind != "state", EventRow.created_at >= row.claimed_at)
        return 1 if connection.execute(progress.limit(1)).first() is not None else int(row.deaths) + 1

    def beat_job(self, claim: JobClaim) -> None:
        """Show that a job's worker is alive; call it at least every ``HEARTBEAT_S`` seconds.

        Raises:
            NuwaError: If another worker has taken the job over.
        """
        self._change(claim, heartbeat_at=utc_now())

    def finish_job(
        self,
        claim: JobClaim,
        state: JobState,
        *,
        result: JsonDict | None = None,
        problem: JsonDict | None = None,
        is_told: bool = False,
    ) -> None:
        """Close a job.

        Args:
            claim: The job.
            state: What became of it.
            result: The answer.
            problem: ``message``, ``hint`` and ``exit_code`` of what it failed on.
            is_told: Whether the search that it ran has told its end in an event already.

        Raises:
            NuwaError: If another worker has taken the job over.
        """
        values: dict[str, Any] = {"state": state, "finished_at": utc_now(), **_OVER}
        values |= {name: value for name, value in (("result", result), ("problem", problem)) if value is not None}
        reason = str(problem["message"]) if problem else ""
        self._change(claim, say=None if is_told else (state, reason), **values)

    def release_job(self, claim: JobClaim, *, reason: str, wait_s: float = 0.0) -> None:
        """Give a job back to the queue, for another worker to go on with.

        Args:
            claim: The job.
            reason: For people.
            wait_s: Seconds before anybody may take it up.

        Raises:
            NuwaError: If another worker has taken the job over.
        """
        not_before: datetime | None = utc_now() + timedelta(seconds=wait_s) if wait_s else None
        self._change(claim, say=("queued", reason), state="queued", owner_token=None, not_before=not_before)

    def cancel_job(self, job_id: str) -> JobRecord:
        """Take a job off the queue, or tell its worker to stop; a job that is over stays as it is.

        Raises:
            NuwaError: If there is no such job.
        """
        with self.write() as connection:
            queued = connection.execute(
                update(JobRow)
                .where(JobRow.job_id == job_id, JobRow.state == "queued")
                .values(state="interrupted", finished_at=utc_now(), **_OVER)
                .returning(JobRow.pk)
            ).scalar()
            if queued is not None:
                _say(connection, queued, "interrupted", "cancelled")
            running = JobRow.job_id == job_id, JobRow.state == "running"
            connection.execute(update(JobRow).where(*running).values(is_cancel_wanted=True))
            row = connection.execute(select(JobRow.__table__).where(*running)).first()
            if row is not None and not is_owner_alive(
                host=row.owner_host, pid=row.owner_pid, heartbeat_at=row.heartbeat_at, now=utc_now()
            ):  # nobody is there to be told
                over = {"state": "interrupted", "finished_at": utc_now(), **_OVER}
                connection.execute(update(JobRow).where(JobRow.pk == row.pk).values(over))
                _say(connection, row.pk, "interrupted", "cancelled; its worker had died")
        return self._need(job_id)

    def is_cancel_wanted(self, claim: JobClaim) -> bool:
        """Whether the job's worker was told to stop."""
        query = select(JobRow.is_cancel_wanted).where(
            JobRow.job_id == claim.job.job_id, JobRow.owner_token == claim.token
        )
        with self.read() as connection:
            return bool(connection.execute(query).scalar())

    def _need(self, job_id: str) -> JobRecord:
        found = self.job(job_id)
        if found is None:
            raise NuwaError(f"the database knows no job {job_id!r}")
        return found

    def _change(self, claim: JobClaim, *, say: tuple[JobState, str] | None = None, **values: Any) -> None:
        with self.write() as connection:
            pk = connection.execute(
                update(JobRow)
                .where(JobRow.job_id == claim.job.job_id, JobRow.owner_token == claim.token)
                .values(values)
                .returning(JobRow.pk)
            ).scalar()
            if pk is None:
                raise NuwaError(f"job {claim.job.job_id} was taken over by another worker")
            if say is not None:
                _say(connection, pk, *say)
