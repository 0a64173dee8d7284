"""Queue the making of a bundle of any stored subnet, and tell how it stands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle_owner import holds_subnet
from nuwa_search.search.derive_command import derive_command
from nuwa_search.search.request import MAX_NUMBER, SearchRequest
from nuwa_search.service.api.context import Word
from nuwa_search.service.api.problems import HttpError, not_found
from nuwa_search.service.api.queueing import enqueue
from nuwa_search.service.api.roots import base_from_client, data_from_client, path_inside
from nuwa_search.service.api.search_request import check_device
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.study_view import job_part
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.records import JobRecord, SubnetRecord
from nuwa_search.store.store import Store
from nuwa_search.store.wanted import SubnetFilter

MOST_LOOKED_AT = 200
"""Newest jobs among which that of a subnet is looked for; an older one that failed is told by nobody any more."""


class WantedBundle(BaseModel):
    """For which device a bundle is exported, and the budget that its certificate is about."""

    model_config = ConfigDict(extra="forbid")

    device: Word | None = None
    budget_ms: Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)] | None = None


def enqueue_bundle(subnet_id: str, wanted: WantedBundle, store: Store, settings: ServiceSettings) -> JobRecord:
    """Queue the making of a bundle of a subnet as it was cut; where that is queued or running already, tell of it.

    Args:
        subnet_id: Id of the subnet.
        wanted: Device and budget; without a device, the one that the subnet was searched for.
        store: The database.
        settings: Settings of the service: data roots and length of the queue.

    Raises:
        HttpError: 404 if there is no such subnet; 409 if it has a bundle, cannot be cut again, or its base or images
            lie outside the data roots; 422 if the device is not known.
    """
    try:
        record = store.load_subnet(subnet_id)
    except NuwaError as error:
        raise not_found(error) from error
    known = find_bundle_job(subnet_id, store)
    if known is not None and known.is_active:
        return known
    _require_cut(record, store)
    base, task = store.load_base(record.base_id), store.load_task(record.task_id)
    by_hand = derive_command(subnet_id, db=store.command_url)
    _require_served(lambda: base_from_client(base.name, settings), f"its base {base.name}", settings, by_hand=by_hand)
    _require_served(lambda: data_from_client(task.data, settings), f"its data {task.data}", settings, by_hand=by_hand)
    device = wanted.device or _device_of(subnet_id, store)
    check_device(device, store)
    asked = {
        "subnet_id": subnet_id,
        "base": base.name,
        "device": device,
        "budget_ms": wanted.budget_ms,
        "folder": str(path_inside(f"subnet-{subnet_id}", settings.roots, where="subnet_id")),
    }
    return enqueue(store, settings, "bundle", asked)


def find_bundle_job(subnet_id: str, store: Store) -> JobRecord | None:
    """Find the newest job that makes or made the bundle of a subnet; None where there is none."""
    jobs = store.jobs(kind="bundle", limit=MOST_LOOKED_AT)
    return next((job for job in jobs if job.settings["subnet_id"] == subnet_id), None)


def bundle_job_document(job: JobRecord) -> dict[str, Any]:
    """Render a job that makes a bundle."""
    return {
        "schema": "nuwa.job/1",
        **job_part(job),
        **{name: job.settings[name] for name in ("subnet_id", "device", "base", "budget_ms")},
        "result": job.result,
        "problem": job.problem,
        "can_cancel": job.is_active,
        "can_resume": False,  # it is made anew
    }


def _require_cut(record: SubnetRecord, store: Store) -> None:
    """Refuse a subnet that has its bundle, or whose weights no cut gives."""
    identity, stored = record.subnet_id, find_lineage(store, record.subnet_id)
    folder = None if stored.bundle_dir is None else Path(stored.bundle_dir)
    if folder is not None and folder.is_dir() and holds_subnet(folder, identity):
        raise HttpError(409, f"subnet {identity!r} has a bundle already", hint=f"GET /api/v1/subnets/{identity}")
    if record.derivation.get("origin") == "small-model":
        raise HttpError(409, f"subnet {identity!r} was trained, not cut: it cannot be made again", hint="search again")
    if folder is not None and stored.finetunings:
        raise HttpError(
            409,
            f"the bundle of subnet {identity!r} is gone, and its weights were fine-tuned: a cut would be another model",
            hint=f"restore {folder}; or cut it without the fine-tuning: "
            f"{derive_command(identity, db=store.command_url)}",
        )


def _require_served(check: Callable[[], object], what: str, settings: ServiceSettings, *, by_hand: str) -> None:
    """Refuse what lies outside the data roots: a bundle holds some of the images."""
    try:
        check()
    except HttpError as error:
        roots = " or ".join(str(root) for root in settings.roots)
        raise HttpError(
            409,
            f"{what} is not below {roots}, the data roots of this service",
            hint=f"nuwa serve --root FOLDER (of the Hub: --hub), or by hand: {by_hand}",
        ) from error


def _device_of(subnet_id: str, store: Store) -> str:
    """Return the device that a subnet was searched for, where it is known."""
    rows = store.subnets.find(SubnetFilter(subnet_ids=[subnet_id]))
    return next((row["device"] for row in rows if row["device"] is not None), SearchRequest.device)
