"""Put work into the queue, as much as the queue may hold."""

from typing import Any

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.records import JobKind, JobRecord
from nuwa_search.store.store import Store


def enqueue(
    store: Store, settings: ServiceSettings, kind: JobKind, asked: dict[str, Any], *, study: str | None = None
) -> JobRecord:
    """Queue a job.

    Args:
        store: The database.
        settings: Settings of the service; ``max_active_jobs`` is the length of the queue.
        kind: What is to be done.
        asked: What was asked for, as JSON values.
        study: Search that the job runs; None for jobs that are no search.

    Raises:
        HttpError: 409 if the study waits or runs already, 429 if the queue is full.
    """
    active = sum(count for (_, state), count in store.count_jobs().items() if state in ("queued", "running"))
    if active >= settings.max_active_jobs:
        raise HttpError(
            429, f"{active} jobs wait or run already", hint="cancel some, or wait", headers={"Retry-After": "60"}
        )
    try:
        return store.add_job(kind, asked, study=study)
    except OutsideError:
        raise
    except NuwaError as error:
        raise HttpError(409, error.message, hint=error.hint) from error
