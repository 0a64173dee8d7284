"""``nuwa build``: build a bundle's engine, or print the command that does on the device."""

from pathlib import Path
from typing import Any

import click

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags


@click.command("build", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--workspace-mb", type=click.IntRange(min=1), help="Builder workspace.  [an eighth of the memory]")
@click.option("--timing-cache", metavar="FILE", help="Keep kernel timings there between builds.")
@with_flags("device", writes=True)
def command(folder: Path, **values: Any) -> None:
    """Build the engine of bundle FOLDER on this machine's GPU, or print the trtexec line to run on the device."""
    output = output_from_flags(values)
    with laboratory(values, say=output.note) as lab:
        spec = lab.device(values["device"])
        from nuwa_search.lab.export import replaced_engine

        engine = replaced_engine(folder, spec)
        if engine is not None and not confirmed(f"Replace the engine {engine}?", yes=values["yes"]):
            output.note("nothing built")
            return
        answer = lab.build(
            folder,
            device=spec.name,
            workspace_mb=values["workspace_mb"],
            timing_cache=values["timing_cache"],
            replace=True,
        )
    row = answer.to_json()
    if output.json:
        output.document({"schema": "nuwa.build/1", **row})
    elif answer.line is None:
        output.text(f"engine: {answer.engine}", row=row)
    else:
        output.note(f"no engine can be built here for {spec.name}; run {answer.build} on the device:")
        output.text(answer.line, row=row)
