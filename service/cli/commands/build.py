"""``nuwa build``: build a bundle's engine, or print the command that does on the device."""

from pathlib import Path
from typing import Any

import click

from nuwa_search.latency.devices.find import find_device
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("build", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--workspace-mb", type=click.IntRange(min=1), help="Builder workspace.  [an eighth of the memory]")
@click.option("--timing-cache", metavar="FILE", help="Keep kernel timings there between builds.")
@with_flags("device", writes=True)
def command(folder: Path, **values: Any) -> None:
    """Build the engine of bundle FOLDER on this machine's GPU, or print the trtexec line to run on the device."""
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(values["device"], store)
    from nuwa_search.deploy.bundle import ENGINE
    from nuwa_search.deploy.device_bundles import bundle_for
    from nuwa_search.service.workflow.build import BuildRequest, build_engine_in
    from nuwa_search.service.workflow.record_steps import record_built, said_not_raised

    folder = bundle_for(folder, spec.name)
    engine = folder / ENGINE
    if spec.kind == "cuda" and engine.exists() and not confirmed(f"Replace the engine {engine}?", yes=values["yes"]):
        output.note("nothing built")
        return
    answer = build_engine_in(folder, BuildRequest(spec, values["workspace_mb"], values["timing_cache"]))
    with said_not_raised(output.note), database(values) as store:
        record_built(store, folder)
    row = answer.to_json()
    if output.json:
        output.document({"schema": "nuwa.build/1", **row})
    elif answer.line is None:
        output.text(f"engine: {answer.engine}", row=row)
    else:
        output.note(f"no engine can be built here for {spec.name}; run {answer.build} on the device:")
        output.text(answer.line, row=row)
