"""``nuwa search`` and ``nuwa-search``: the main job."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.interrupts import end_like_ctrl_c
from nuwa_search.core.settings import without_secret
from nuwa_search.lab.search import SearchBeginning, check_beginning, new_beginning, run_beginning, stored_beginning
from nuwa_search.lab.tracking.tracker import tracker_place
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import SEARCH_FLAGS, with_flags
from nuwa_search.service.cli.followed import followed
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import current_line
from nuwa_search.service.cli.request_flags import fields_from_flags, fields_given, settings_left_out

if TYPE_CHECKING:
    from nuwa_search.lab.lab import Lab

INTERRUPTED = 130
RESULT = ("top1", "measured_latency_ms", "predicted_latency_ms", "params", "macs")
"""Of a search's answer about its winner, for trackers."""


@click.command("search", cls=NuwaCommand)
@with_flags(*SEARCH_FLAGS, "study", "resume", "cache-dir", "log-to")
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
    if values["log_to"]:
        tracker_place(values["log_to"])  # told before anything heavy is loaded
    new = None if values["resume"] else _new(ctx, values)  # told before the database is opened
    with laboratory(values, say=output.note) as lab:
        beginning = new or stored_beginning(lab.store, values["study"], fields_given(ctx, values))
        notes = [*beginning.notes, *([] if new else settings_left_out(ctx, values, beginning.request))]
        for line in notes:
            output.note(line)
        check_beginning(beginning, lab.store)
        if values["dry_run"]:
            from nuwa_search.search.job.search_plan import plan_search
            from nuwa_search.service.cli.plan_view import show_plan

            request, study = beginning.request, beginning.study
            show_plan(plan_search(request, lab.store, study=study), request, study, output)
            return 0
        return _run(beginning, lab, values, output)


def _new(ctx: click.Context, values: Mapping[str, Any]) -> SearchBeginning:
    if not values["budget_ms"]:
        raise click.MissingParameter(ctx=ctx, param_hint="--budget-ms", param_type="option")
    return new_beginning(fields_from_flags(ctx, values), study=values["study"])


def _run(beginning: SearchBeginning, lab: "Lab", values: Mapping[str, Any], output: Output) -> int:
    request, study = beginning.request, beginning.study
    line = current_line()
    line.step(f"study {study}: loading")
    from nuwa_search.lab.found import NoSubnetError
    from nuwa_search.service.cli.search_view import SearchWatch, announce, show_answer

    line.step(announce(request, study=study))
    hooks = SearchWatch(line, trials=request.trials).hooks()
    error = None
    try:
        settings = dataclasses.asdict(request)
        with followed(values["log_to"], hooks, name=study, settings=settings) as (watched, result):
            found = run_beginning(beginning, store=lab.store, cache_dir=lab.cache_dir, hooks=watched)
            result({name: found.to_json()["subnet"][name] for name in RESULT})
    except NoSubnetError as no:
        error, found = no, no.found
    except KeyboardInterrupt:
        line.end()
        if lab.store.search(study) is None:
            output.note("\ninterrupted before the search began: there is nothing to resume")
        else:
            output.note(f"\ninterrupted; everything is saved. To go on:\n  {resume_line(study, values)}")
        return INTERRUPTED
    show_answer(found.to_json(), output, base_arch=found.base_arch)
    if values["explain"] and found.explanation:
        output.note(found.explanation)
    if error is not None:
        raise error
    return 0


def resume_line(study: str, values: Mapping[str, Any]) -> str:
    """Write the command that goes on with a study; a password is left out for the user to fill in."""
    words = ["nuwa-search", "--study", study, "--resume"]
    if values["db"]:
        words += ["--db", without_secret(values["db"])]
    if values["cache_dir"]:
        words += ["--cache-dir", values["cache_dir"]]
    return shlex.join(words)
