"""The kinds of jobs, each as a function of its claim that returns what became of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.records import JobClaim, JobState
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Done:
    """How a job ended.

    Args:
        state: Of the job.
        result: Its answer; None where there is none.
        is_told: Whether its events say so already.
    """

    state: JobState
    result: dict[str, Any] | None
    is_told: bool


def do_job(claim: JobClaim, store: Store, *, cache_dir: Path) -> Done:
    """Do a job, or go on with it where an earlier worker stopped.

    Raises:
        NuwaError: If it cannot be done; everything that was found is saved.
        KeyboardInterrupt: When it was interrupted, with everything saved.
    """
    kind = claim.job.kind
    if kind == "search":
        return _search(claim, store, cache_dir=cache_dir)
    if kind == "bundle":
        from nuwa_search.service.worker.bundle_task import make_bundle

        return Done("done", make_bundle(claim, store, cache_dir=cache_dir), is_told=False)
    if kind == "profile":
        return _profile(claim, store)
    raise NuwaError(
        f"job {claim.job.job_id} is of a kind that this worker does not know: {kind}",
        hint="pip install --upgrade nuwa-search",
    )


def earlier_end(claim: JobClaim, store: Store) -> Done | None:
    """Find the end of a search that was reached before its worker could say so; None where it was not reached."""
    job = claim.job
    record = store.search(job.study) if job.study is not None else None
    if record is None or record.state not in ("done", "infeasible") or record.finished_at is None:
        return None
    if record.finished_at < job.created_at:
        return None  # an earlier run's end, which this job was made to go beyond
    return Done(record.state, record.result, is_told=True)


def _search(claim: JobClaim, store: Store, *, cache_dir: Path) -> Done:
    job = claim.job
    ended = earlier_end(claim, store)
    if ended is not None:
        return ended
    from nuwa_search.search.job.search import run_search  # loads torch, which a waiting worker has no use for
    from nuwa_search.search.request import request_from_dict

    if job.study is None:
        raise NuwaError(f"job {job.job_id} names no study")
    outcome = run_search(
        request_from_dict(job.settings["request"]),
        store=store,
        study=job.study,
        resume=bool(job.settings["resume"]) or job.attempts > 1,
        cache_dir=cache_dir,
    )
    return Done("done" if outcome.error is None else "infeasible", outcome.result.to_json(), is_told=True)


def _profile(claim: JobClaim, store: Store) -> Done:
    from nuwa_search.core.base import load_base
    from nuwa_search.latency.devices.find import find_device
    from nuwa_search.predictors.device_predictor import run_profile, transfer_profile
    from nuwa_search.predictors.first_day import transfer_source
    from nuwa_search.predictors.profile import ProfileSettings
    from nuwa_search.predictors.profile_answer import answer_of_profile
    from nuwa_search.search.img_sizes import sizes_to_profile
    from nuwa_search.search.job.event_log import EventLog
    from nuwa_search.search.request import OPTIONS

    job = claim.job
    wanted = job.settings
    log = EventLog(lambda kind, payload: store.add_job_event(job.job_id, kind, payload))
    log.say("state", {"state": "running", "reason": ""})
    img_size, img_sizes = (OPTIONS[name].settled(wanted.get(name)) for name in ("img_size", "img_sizes"))
    spec, base = find_device(wanted["device"], store), load_base(wanted["base"], img_size=img_size)
    sizes = sizes_to_profile(base.arch, asked=img_sizes)
    settings = ProfileSettings(minutes=wanted["minutes"], seed=wanted["seed"], img_sizes=sizes)
    if spec.kind == "ssh" and settings.minutes is None:  # whoever queued it has agreed to ten engines
        source = transfer_source(store, spec, base.arch)
        start, _ = transfer_profile(store, spec, base.arch, source=source, progress=log.count)
    else:
        start = run_profile(store, spec, base.arch, settings=settings, progress=log.count)
    return Done("done", answer_of_profile(start).to_json(), is_told=False)
