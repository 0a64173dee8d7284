"""``nuwa derive``: one subnet with weights, no search."""

from pathlib import Path
from typing import Any

import click

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.settings import default_cache_dir
from nuwa_search.core.source_name import absolute_path
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("derive", cls=NuwaCommand)
@with_flags("base", "arch", "data", "label-column", "classes", "cache-dir", writes=True)
def command(**values: Any) -> None:
    """Cut one subnet out of a base in closed form and write it as a bundle (-o DIR)."""
    output = output_from_flags(values, use_path=False)
    if values["arch"] is None or values["output"] is None:
        raise NuwaError("derive needs an arch and a folder", hint="nuwa derive --arch FILE -o DIR")
    from nuwa_search.deploy.bundle import is_bundle
    from nuwa_search.service.workflow.derive import derive_bundle

    folder = Path(values["output"]).expanduser()
    if is_bundle(folder) and not confirmed(f"Replace the bundle in {folder}?", yes=values["yes"]):
        output.note("nothing derived")
        return
    with database(values) as store:
        answer = derive_bundle(
            values["arch"],
            store=store,
            base=absolute_path(values["base"]),
            data=absolute_path(values["data"]),
            label_column=values["label_column"],
            classes=values["classes"],
            seed=values["seed"],
            folder=folder,
            cache_dir=Path(values["cache_dir"] or default_cache_dir()),
        )
    if output.json:
        output.document({"schema": "nuwa.derive/1", **answer})
    else:
        output.table([answer])
