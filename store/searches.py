"""Searches in the database: who runs which study, in which state it is, what came out."""

import os
import socket
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.devices import device_pk_of
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.records import Claim, JsonDict, SearchRecord, SearchState, SearchTerms
from nuwa_search.store.rows import optional_pk
from nuwa_search.store.tables import BaseNetRow, DeviceRow, PredictorRow, SearchRow, TaskRow


def _query() -> Select[*tuple[Any, ...]]:
    return (
        select(
            SearchRow.study,
            SearchRow.state,
            DeviceRow.device_id,
            SearchRow.budget_ms,
            SearchRow.seed,
            BaseNetRow.base_id,
            TaskRow.task_id,
            PredictorRow.predictor_id,
            SearchRow.settings,
            SearchRow.result,
            SearchRow.owner_host,
            SearchRow.owner_pid,
            SearchRow.heartbeat_at,
            SearchRow.created_at,
            SearchRow.finished_at,
        )
        .select_from(SearchRow)
        .join(DeviceRow, DeviceRow.pk == SearchRow.device_pk)
        .outerjoin(BaseNetRow, BaseNetRow.pk == SearchRow.base_pk)
        .outerjoin(TaskRow, TaskRow.pk == SearchRow.task_pk)
        .outerjoin(PredictorRow, PredictorRow.pk == SearchRow.predictor_pk)
    )


def is_alive(record: SearchRecord, *, now: datetime) -> bool:
    """Whether somebody still runs the search: its heart beat lately and its process is not known to be dead."""
    return record.state == "running" and is_owner_alive(
        host=record.owner_host, pid=record.owner_pid, heartbeat_at=record.heartbeat_at, now=now
    )


def _change_claimed(connection: Connection, claim: Claim, **values: object) -> None:
    changed = connection.execute(
        update(SearchRow)
        .where(SearchRow.study == claim.study, SearchRow.owner_token == claim.token)
        .values(heartbeat_at=utc_now(), **values)
    )
    if not changed.rowcount:
        raise NuwaError(
            f"study {claim.study!r} was taken over by another process, because this one gave no sign of life",
            hint="let the other one finish, or start a study of another name with --study",
        )


def _require_same(previous: SearchRecord | None, **ids: str | None) -> None:
    """Refuse to put another base or task under what a study found."""
    for name, found in ids.items():
        began = None if previous is None else getattr(previous, name)
        if previous is not None and None not in (began, found) and began != found:
            noun = name.removesuffix("_id")
            raise NuwaError(
                f"study {previous.study!r} is about {noun} {began}, not {found}",
                hint="put back what it was started with, or start another study with --study",
            )


class SearchMethods(Database):
    """The store's methods about searches."""

    def start_search(self, study: str, terms: SearchTerms, *, resume: bool = True) -> Claim:
        """Claim a study for this process, new or left by an earlier run; exactly one process can.

        Args:
            study: Its name.
            terms: What it is started with.
            resume: Whether a study that an earlier run left may be continued.

        Returns:
            The claim; ``previous`` is what the earlier run left, which the caller compares with its
            own settings.

        Raises:
            NuwaError: If the study is running elsewhere, exists although ``resume`` is False or with another base or
                task, or device, base, task or predictor is not recorded.
        """
        token = uuid.uuid4().hex
        now = utc_now()
        with self.write() as connection:
            # PostgreSQL: a second claim of the row waits here. SQLite: it waits at BEGIN IMMEDIATE.
            connection.execute(select(SearchRow.pk).where(SearchRow.study == study).with_for_update())
            row = connection.execute(_query().where(SearchRow.study == study)).first()
            previous = None if row is None else SearchRecord(*row)
            if previous is not None and is_alive(previous, now=now):
                raise NuwaError(
                    f"study {study!r} is running already (process {previous.owner_pid} on {previous.owner_host})",
                    hint="wait until it is done, or give this one another name with --study",
                )
            if previous is not None and not resume:
                raise NuwaError(
                    f"study {study!r} exists already and is {previous.state}",
                    hint=f"continue it with --study {study} --resume, or choose another name with --study",
                )
            _require_same(previous, base_id=terms.base_id, task_id=terms.task_id)
            values = {
                "state": "running",
                "budget_ms": terms.budget_ms,
                "seed": terms.seed,
                "device_pk": device_pk_of(connection, terms.device_id),
                "base_pk": optional_pk(connection, BaseNetRow.pk, BaseNetRow.base_id, terms.base_id, noun="base"),
                "task_pk": optional_pk(connection, TaskRow.pk, TaskRow.task_id, terms.task_id, noun="task"),
                "predictor_pk": optional_pk(
                    connection, PredictorRow.pk, PredictorRow.predictor_id, terms.predictor_id, noun="latency predictor"
                ),
                "settings": terms.settings,
                "owner_host": socket.gethostname(),
                "owner_pid": os.getpid(),
                "owner_token": token,
                "heartbeat_at": now,
                "finished_at": None,
            }
            if previous is None:
                self._insert_search(connection, {**values, "study": study, "created_at": now})
            else:
                connection.execute(update(SearchRow).where(SearchRow.study == study).values(values))
        return Claim(study=study, token=token, previous=previous)

    def _insert_search(self, connection: Connection, values: dict[str, Any]) -> None:
        try:
            connection.execute(insert(SearchRow).values(values))
        except IntegrityError as error:  # PostgreSQL: another process inserted the same study in between
            raise NuwaError(
                f"study {values['study']!r} was started by another process at the same moment",
                hint="wait until it is done, or give this one another name with --study",
            ) from error

    def heartbeat(self, claim: Claim) -> None:
        """Show that the search is alive; call it at least every ``HEARTBEAT_S`` seconds.

        Raises:
            NuwaError: If another process has taken the study over.
        """
        with self.write() as connection:
            _change_claimed(connection, claim)

    def set_search_predictor(self, claim: Claim, predictor_id: str) -> None:
        """Remember which saved latency predictor the search uses.

        Raises:
            NuwaError: If the predictor is not saved or another process has taken the study over.
        """
        with self.write() as connection:
            pk = optional_pk(
                connection, PredictorRow.pk, PredictorRow.predictor_id, predictor_id, noun="latency predictor"
            )
            _change_claimed(connection, claim, predictor_pk=pk)

    def finish_search(self, claim: Claim, state: SearchState, *, result: JsonDict | None = None) -> None:
        """Give the study back in its final state; without ``result`` an earlier result stays.

        Raises:
            NuwaError: If another process has taken the study over.
        """
        values: dict[str, object] = {"state": state, "owner_token": None, "finished_at": utc_now()}
        if result is not None:
            values["result"] = result
        with self.write() as connection:
            _change_claimed(connection, claim, **values)

    def search(self, study: str) -> SearchRecord | None:
        """Read a search; None where there is none of that name."""
        with self.read() as connection:
            row = connection.execute(_query().where(SearchRow.study == study)).first()
            return None if row is None else SearchRecord(*row)

    def searches(self) -> tuple[SearchRecord, ...]:
        """Read all searches, newest first."""
        with self.read() as connection:
            rows = connection.execute(_query().order_by(SearchRow.pk.desc()))
            return tuple(SearchRecord(*row) for row in rows)
