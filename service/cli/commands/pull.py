"""``nuwa pull``: a bundle or a base from the Hugging Face Hub."""

from typing import Any

import click

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("pull", cls=NuwaCommand)
@click.argument("repository", metavar="OWNER/NAME[@REVISION]")
@with_flags(writes=True)
def command(repository: str, **values: Any) -> int:
    """Pull a bundle or base from the Hugging Face Hub into -o DIR, and check it; nothing of it is run."""
    output = output_from_flags(values, use_path=False)
    if values["output"] is None:
        raise NuwaError("pulling needs a folder", hint=f"nuwa pull {repository} -o DIR")
    from nuwa_search.deploy.hub.pull import pull_folder

    answer = pull_folder(repository, expanded(values["output"]))
    for note in answer.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.pull/1", **answer.to_json()})
    else:
        output.table([{name: value for name, value in answer.to_json().items() if name != "notes"}])
    return 1 if answer.is_certified is False else 0
