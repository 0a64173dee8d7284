"""``nuwa search`` and ``nuwa-search``: the main job."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.interrupts import end_like_ctrl_c
from nuwa_search.core.settings import default_cache_dir, without_secret
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.request import OPTIONS, SearchRequest, request_from_dict
from nuwa_search.search.resume import resumed_request
from nuwa_search.search.study_name import check_study, new_study
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import SEARCH_FLAGS, with_flags
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import current_line
from nuwa_search.service.cli.request_flags import fields_from_flags, fields_given, settings_left_out

if TYPE_CHECKING:
    from nuwa_search.store.store import Store

INTERRUPTED = 130
INFEASIBLE = 1


@click.command("search", cls=NuwaCommand)
@with_flags(*SEARCH_FLAGS, "study", "resume", "cache-dir")
@click.pass_context
def command(ctx: click.Context, /, **values: Any) -> int:
    """Cut a base ViT to a latency budget, fine-tune it, and prove it on the device.

    With --budget-ms alone it cuts a ViT-S/14 at 224 pixels on simulated textile images, both from the packages
    of the extra `demo`, for an emulated Jetson Nano. Answers with the winner beside the base and writes a bundle.
    With --study NAME --resume it goes on with that search as it was started; what says how long it runs
    may be given anew.
    """
    output = output_from_flags(values, use_path=False)
    end_like_ctrl_c()
    new = None if values["resume"] else _new_start(ctx, values)  # told before the database is opened
    with database(values) as store:
        start = new or _stored_start(ctx, values, store, output)
        request, study = start.request, start.study
        for asked in request.device_budgets:
            find_device(asked.device or request.device, store)
        require_demo(request.base, data=request.data)
        if values["dry_run"]:
            from nuwa_search.service.cli.plan_view import show_plan
            from nuwa_search.service.workflow.search_plan import plan_search

            show_plan(plan_search(request, store, study=study), request, study, output)
            return 0
        return _run(start, store, values, output)


@dataclass(frozen=True)
class _Start:
    """What is run: a study by name, new or stored."""

    request: SearchRequest
    study: str
    resume: bool


def _new_start(ctx: click.Context, values: Mapping[str, Any]) -> _Start:
    if not values["budget_ms"]:
        raise click.MissingParameter(ctx=ctx, param_hint="--budget-ms", param_type="option")
    named = values["study"]
    fields = fields_from_flags(ctx, values)
    study = check_study(named) if named is not None else new_study(fields["device"], fields["budget_ms"])
    fields["bundle_dir"] = OPTIONS["bundle_dir"].value_of_flag(values["output"] or f"runs/{study}")
    return _Start(SearchRequest(**fields), study, resume=False)


def _stored_start(ctx: click.Context, values: Mapping[str, Any], store: "Store", output: Output) -> _Start:
    """Read the request of the study to resume, changed where the command line says so and that may be changed."""
    study = values["study"]
    if study is None:
        unfinished = [s.study for s in store.searches() if s.state in ("interrupted", "failed", "running")]
        hint = f"--study {unfinished[0]}" if unfinished else "nuwa query studies lists them"
        raise NuwaError("--resume needs the name of the study", hint=hint)
    from nuwa_search.service.workflow.moved_on import moved_on

    moved = moved_on(study, store)
    if moved is not None:
        output.note(moved.note)
        study = moved.study
    record = moved.origin if moved is not None and not moved.is_begun else store.search(study)
    if record is None:
        raise NuwaError(f"there is no study {study!r} to resume", hint="nuwa query studies lists them")
    stored = request_from_dict(record.settings)
    given = fields_given(ctx, values)
    request = resumed_request(stored, given, study=record.study, predictor_id=record.predictor_id)
    for line in settings_left_out(ctx, values, request):
        output.note(line)
    if moved is not None and not moved.is_begun:
        return _Start(moved.begin(request), study, resume=False)
    return _Start(request, study, resume=True)


def _run(start: _Start, store: "Store", values: Mapping[str, Any], output: Output) -> int:
    request, study = start.request, start.study
    line = current_line()
    line.step(f"study {study}: loading")
    from nuwa_search.service.cli.search_view import SearchWatch, announce, show_answer
    from nuwa_search.service.workflow.search import run_search

    line.step(announce(request, study=study))
    try:
        outcome = run_search(
            request,
            store=store,
            study=study,
            resume=start.resume,
            cache_dir=Path(values["cache_dir"] or default_cache_dir()),
            hooks=SearchWatch(line, trials=request.trials).hooks(),
        )
    except KeyboardInterrupt:
        line.end()
        if store.search(study) is None:
            output.note("\ninterrupted before the search began: there is nothing to resume")
        else:
            output.note(f"\ninterrupted; everything is saved. To go on:\n  {resume_line(study, values)}")
        return INTERRUPTED
    show_answer(outcome.result.to_json(), output, base_arch=outcome.base_arch)
    if values["explain"] and outcome.explanation:
        output.note(outcome.explanation)
    if outcome.error is not None:
        raise outcome.error
    return 0


def resume_line(study: str, values: Mapping[str, Any]) -> str:
    """Write the command that goes on with a study; a password is left out for the user to fill in."""
    words = ["nuwa-search", "--study", study, "--resume"]
    if values["db"]:
        words += ["--db", without_secret(values["db"])]
    if values["cache_dir"]:
        words += ["--cache-dir", values["cache_dir"]]
    return shlex.join(words)
