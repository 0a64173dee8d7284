"""``nuwa finetune``: fine-tune a bundle's model with distillation from its base."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from nuwa_search.lab.tracking.tracker import tracker_place
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.followed import followed
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import current_line

if TYPE_CHECKING:
    from nuwa_search.lab.keywords import FinetuneKeywords

INTERRUPTED = 130
# command-line name: field of FinetuneRequest
FIELDS = {
    "base": "base",
    "data": "data",
    "label_column": "label_column",
    "finetune_steps": "steps",
    "finetune_epochs": "epochs",
    "seed": "seed",
    "teacher": "teacher",
    "relation_scale": "relation_scale",
    "accumulate": "accumulate",
    "compile": "compile",
}


@click.command("finetune", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--teacher",
    type=click.Choice(["base", "tuned"]),
    default="base",
    show_default=True,
    help="The base as it is, or itself fine-tuned on the task first (once; kept in the cache).",
)
@click.option(
    "--relation-scale",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Weight of matching how tokens relate in queries, keys and values.",
)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Compute a batch in N parts.")
@click.option("--compile", is_flag=True, help="Use torch.compile: pays in long runs on a GPU.")
@with_flags(
    "base",
    "data",
    "label-column",
    "finetune-epochs",
    "finetune-steps",
    "resume",
    "cache-dir",
    "log-to",
    defaults={"base": None},
    writes=True,
)
def command(folder: Path, **values: Any) -> int:
    """Fine-tune bundle FOLDER with its base as teacher; its export is then out of date and removed.

    Base and images are those that the bundle names, unless you name others.
    --resume goes on where a run was interrupted or killed, with the settings it was started with.
    """
    output = output_from_flags(values)
    if values["log_to"]:
        tracker_place(values["log_to"])
    from nuwa_search.deploy.train.processes import join_processes
    from nuwa_search.service.cli.search_view import SearchWatch

    is_first = join_processes().is_first
    context = click.get_current_context()
    is_named = {n: context.get_parameter_source(n) is ParameterSource.COMMANDLINE for n in FIELDS}
    # a run that is resumed was started with its own settings: defaults and settings files say nothing about it
    names = [name for name in FIELDS if is_named[name] or not values["resume"]]
    wishes = cast("FinetuneKeywords", {FIELDS[name]: values[name] for name in names})
    line = current_line()
    hooks = SearchWatch(line, trials=0).hooks()
    with laboratory(values, say=output.note) as lab:
        try:
            place = values["log_to"] if is_first else None
            with followed(place, hooks, name=folder.name, settings=wishes) as (told, result):
                answer = lab.finetune(folder, resume=values["resume"], callback=told, **wishes)
                result({"top1_search": answer.top1_search, "top1_search_before": answer.top1_search_before})
        except KeyboardInterrupt:
            line.end()
            words = ["nuwa", "finetune", str(folder)]
            go_on = command_to_go_on(words, leave_out=["resume"], add=["--resume"])
            output.note(f"\ninterrupted; a checkpoint is saved. To go on:\n  {go_on}")
            return INTERRUPTED
    if not is_first:
        return 0  # one answer for all processes of torchrun
    if output.json:
        output.document({"schema": "nuwa.finetune/1", **answer.to_json()})
    else:
        output.table([answer.to_json()])
        output.note(f"next: nuwa export {shlex.quote(str(folder))} --device jetson-nano")
    return 0
