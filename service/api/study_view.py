"""Searches as rows and documents."""

import shlex
from collections.abc import Sequence
from typing import Any

from nuwa_search.search.derive_command import on_database
from nuwa_search.search.study_budgets import budget_parts, budgets_of_study
from nuwa_search.service.api.context import moment
from nuwa_search.store.records import Event, JobRecord
from nuwa_search.store.store import Store
from nuwa_search.store.studies import StudyRecord

FINAL = ("done", "infeasible", "interrupted", "failed")
KINDS = ("state", "stage", "step", "count", "trial", "finetune", "winner-measured")


def study_row(record: StudyRecord) -> dict[str, Any]:
    """Render a search for a list."""
    result = record.result or {}
    budget_ms = record.settings.get("budget_ms", result.get("budget_ms"))
    return {
        "study": record.study,
        "state": record.state,
        "is_alive": record.is_alive,
        "device": record.device,
        "device_id": record.device_id,
        "budget_ms": budget_ms,
        "budgets": budget_parts(budgets_of_study(record.settings, device=record.device, budget_ms=budget_ms)),
        "seed": record.settings.get("seed", 0),
        "base": record.base,
        "data": record.settings.get("data"),
        "classes": record.classes,
        "task_id": record.task_id,
        "predictor_id": record.predictor_id,
        "job_id": None if record.job is None else record.job.job_id,
        "verdict": result.get("verdict"),
        "subnet_id": (result.get("subnet") or {}).get("subnet_id"),
        "created_at": moment(record.created_at),
        "finished_at": moment(record.finished_at),
    }


def study_document(record: StudyRecord, store: Store) -> dict[str, Any]:
    """Render everything that is known of a search."""
    latest = store.latest_events(record.study)
    is_alive, has_job = record.is_alive, record.job is not None and record.job.is_active
    return study_row(record) | {
        "schema": "nuwa.study/1",
        "settings": record.settings,
        "result": record.result,
        "problem": None if record.job is None or record.state != "failed" else record.job.problem,
        "job": None if record.job is None else job_part(record.job),
        "latest": {kind: event_row(latest[kind]) if kind in latest else None for kind in KINDS},
        "progress": _progress(latest, record.settings),
        "can_cancel": has_job,
        "can_resume": not is_alive and not has_job,  # a job whose worker died is taken up by the next worker anyway
        "commands": [
            {
                "what": "go on with it",
                "command": on_database("nuwa-search", "--study", record.study, "--resume", db=store.command_url),
            }
        ],
        "optuna": {"study": record.study, "command": shlex.join(["optuna-dashboard", store.shown_url])},
    }


def job_part(job: JobRecord) -> dict[str, Any]:
    """Render who does a search, and how often it was taken up."""
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "state": job.state,
        "attempts": job.attempts,
        "worker": None if job.owner_pid is None else f"{job.owner_host}:{job.owner_pid}",
        "is_cancel_wanted": job.is_cancel_wanted,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
        "heartbeat_at": moment(job.heartbeat_at),
    }


def profile_document(job: JobRecord) -> dict[str, Any]:
    """Render a profile."""
    asked = {name: job.settings.get(name) for name in ("device", "base", "img_size", "minutes", "seed")}
    return {
        "schema": "nuwa.job/1",
        **job_part(job),
        **asked,
        "result": job.result,
        "problem": job.problem,
        "can_cancel": job.is_active,
        "can_resume": not job.is_active and job.state != "done",
    }


def event_row(event: Event) -> dict[str, Any]:
    """Render an event."""
    return {
        "number": event.number,
        "kind": event.kind,
        "study": event.study,
        "at": moment(event.created_at),
        "data": event.payload,
    }


def events_document(events: Sequence[Event], *, after: int) -> dict[str, Any]:
    """Render events behind number ``after`` as one list, with the number to go on from."""
    rows = [event_row(event) for event in events]
    next_after = rows[-1]["number"] if rows else after
    return {"schema": "nuwa.event/1", "rows": rows, "count": len(rows), "next_after": next_after}


def _progress(latest: dict[str, Event], settings: dict[str, Any]) -> dict[str, Any]:
    trial = latest["trial"].payload if "trial" in latest else {}
    finetune = latest["finetune"].payload if "finetune" in latest else {}
    return {
        "trials_scored": trial.get("scored", 0),
        "trials_wanted": trial.get("wanted", settings.get("trials")),
        "finetune_step": finetune.get("step"),
        "finetune_steps": finetune.get("steps"),
    }
