"""``nuwa push``: a bundle or a base to the Hugging Face Hub."""

from pathlib import Path
from typing import Any

import click

from nuwa_search.core.home import expanded
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("push", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="A repository that is made now is seen by everybody.  [only by you]")
@with_flags()
def command(folder: Path, repository: str, **values: Any) -> None:
    """Push bundle or base FOLDER to OWNER/NAME on the Hugging Face Hub, with a model card.

    Sample images in a bundle go along. --dry-run lists what would go. Log in first: `hf auth login`, or HF_TOKEN.
    """
    output = output_from_flags(values)
    from nuwa_search.deploy.hub.push import push_folder

    answer = push_folder(expanded(folder), repository, is_public=values["public"], is_dry=values["dry_run"])
    for note in answer.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.push/1", **answer.to_json()})
        return
    row = {name: value for name, value in answer.to_json().items() if name not in ("files", "notes")}
    output.table([{**row, "files": len(answer.files)}])
    if values["dry_run"]:
        output.note("would be pushed: " + ", ".join(answer.files))
    else:
        output.note(f"next: nuwa pull hf-hub:{answer.repository} -o FOLDER")
